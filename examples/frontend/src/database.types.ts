// The tables and functions of consumer, as supabase-js wants to know them: `createClient<Database>(url, key)`.
// A test compares them with the migrated database. If your tables have more columns, generate your own with
// `supabase gen types typescript`; consumer.ts works with them too.

export type Json = string | number | boolean | null | Json[] | JsonObject;
export type JsonObject = { [key: string]: Json | undefined };

export type Status = "queued" | "processing" | "completed" | "failed" | "cancelled";

export type Database = {
  public: {
    Tables: {
      jobs: {
        Row: {
          id: string;
          user_id: string;
          job_type: string;
          status: Status;
          original_prompt: string | null;
          enhanced_prompt: string | null;
          metadata: JsonObject;
          error_message: string | null;
          attempts: number;
          max_attempts: number | null;
          created_at: string;
          started_at: string | null;
          completed_at: string | null;
          image_id: string | null;
          video_id: string | null;
          engine: string | null;
          priority: number;
          available_at: string | null;
          start_tag: string | null;
          finish_tag: string | null;
          queue_at: string | null;
          worker_id: string | null;
          claim_id: number | null;
          idempotency_key: string | null;
          errors: Json[];
          updated_at: string;
          version: number;
        };
        // What a user may send; the database sets the rest, and user_id where it is left out.
        Insert: {
          id?: string;
          user_id?: string;
          job_type: string;
          original_prompt?: string | null;
          enhanced_prompt?: string | null;
          metadata?: JsonObject;
          image_id?: string | null;
          video_id?: string | null;
          idempotency_key?: string | null;
        };
        Update: Record<string, never>;
        Relationships: [
          {
            foreignKeyName: "jobs_image_id_fkey";
            columns: ["image_id"];
            isOneToOne: false;
            referencedRelation: "images";
            referencedColumns: ["id"];
          },
          {
            foreignKeyName: "jobs_video_id_fkey";
            columns: ["video_id"];
            isOneToOne: false;
            referencedRelation: "videos";
            referencedColumns: ["id"];
          },
        ];
      };
      images: {
        Row: {
          id: string;
          user_id: string;
          job_id: string | null;
          title: string | null;
          prompt: string;
          status: Status;
          image_url: string | null;
          thumbnail_url: string | null;
          image_urls: Json | null;
          metadata: JsonObject;
          format: string | null;
          seed: number | null;
          file_size: number | null;
          created_at: string;
          updated_at: string;
          image_index: number | null;
          managed: boolean;
          progress: number | null;
          error_message: string | null;
          version: number;
        };
        Insert: Record<string, never>;
        Update: Record<string, never>;
        Relationships: [
          {
            foreignKeyName: "images_job_id_fkey";
            columns: ["job_id"];
            isOneToOne: false;
            referencedRelation: "jobs";
            referencedColumns: ["id"];
          },
        ];
      };
      videos: {
        Row: {
          id: string;
          user_id: string;
          title: string | null;
          status: Status;
          video_url: string | null;
          thumbnail_url: string | null;
          duration: number | null;
          resolution: string | null;
          format: string | null;
          metadata: JsonObject;
          error_message: string | null;
          created_at: string;
          updated_at: string;
          completed_at: string | null;
          job_id: string | null;
          image_index: number | null;
          managed: boolean;
          progress: number | null;
          seed: number | null;
          file_size: number | null;
          version: number;
        };
        Insert: Record<string, never>;
        Update: Record<string, never>;
        Relationships: [
          {
            foreignKeyName: "videos_job_id_fkey";
            columns: ["job_id"];
            isOneToOne: false;
            referencedRelation: "jobs";
            referencedColumns: ["id"];
          },
        ];
      };
    };
    Views: Record<never, never>;
    Functions: {
      cancel_job: { Args: { job_id: string }; Returns: Status };
      retry_job: { Args: { job_id: string }; Returns: Status };
      queue_position: { Args: { job_id: string }; Returns: number | null };
    };
  };
};
