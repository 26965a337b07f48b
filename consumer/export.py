"""The migrations as files for the Supabase CLI."""
