-- A user for the demo; on Supabase its auth service does this.
insert into auth.users (id, aud, role, email, created_at)
values (gen_random_uuid(), 'authenticated', 'authenticated', %(email)s, now())
returning id
