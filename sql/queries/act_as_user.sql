-- Be this user until the transaction ends, as PostgREST arranges it for a request.
select set_config('request.jwt.claims', %(claims)s, true), set_config('role', 'authenticated', true)
