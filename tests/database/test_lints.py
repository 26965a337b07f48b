"""What Supabase's own advisor looks for in a database, asked in our words: the migrations add nothing to its list.

A lint is a query that gives the offenders. What it finds after we moved in and not before is ours. Each has a planted
offender, for a query that finds nothing proves nothing.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

import adopted
from postgres import Database, Databases, migrate

EXPOSED = "('public', 'graphql_public')"
"""The schemas that the API shows; consumer is none of them."""


class Lint(NamedTuple):
    """What to look for, and a planted offender with the name that the query gives to it."""

    query: str
    planted: str
    found: str


def of_user(alias: str) -> str:
    """Where a catalog's row is of a schema that Supabase leaves to its users."""
    managed = "('information_schema', 'auth', 'storage', 'realtime', 'extensions', 'graphql_public')"
    return f"{alias}namespace::regnamespace::text not in {managed} and {alias}namespace::regnamespace::text !~ '^pg_'"


POLICIES = (
    "from pg_policy p join pg_class c on c.oid = p.polrelid cross join lateral"
    " concat_ws(' ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) as rule"
    f" where {of_user('c.rel')}"
)
READABLE = "(has_table_privilege('anon', c.oid, 'select') or has_table_privilege('authenticated', c.oid, 'select'))"
DEFINER = (
    "select p.oid::regprocedure::text from pg_proc p where p.prosecdef and"
    f" p.pronamespace::regnamespace::text in {EXPOSED} and has_function_privilege('{{}}', p.oid, 'execute')"
)

LINTS = {
    "unindexed_foreign_keys": Lint(
        "select f.conrelid::regclass || '.' || f.conname from pg_constraint f"
        f" where f.contype = 'f' and {of_user('f.con')} and not exists (select from pg_index i"
        "  where i.indrelid = f.conrelid and i.indisvalid"
        "  and (string_to_array(i.indkey::text, ' ')::int2[])[1:cardinality(f.conkey)] = f.conkey)",
        "create table public.planted (id int primary key, job_id uuid constraint planted_fkey references public.jobs)",
        "public.planted.planted_fkey",
    ),
    "auth_users_exposed": Lint(
        "select c.oid::regclass::text from pg_depend d join pg_rewrite r on r.oid = d.objid"
        " join pg_class c on c.oid = r.ev_class where d.refobjid = 'auth.users'::regclass and c.relkind in ('v', 'm')"
        f" and c.relnamespace::regnamespace::text in {EXPOSED} and {READABLE}",
        "create view public.planted as select id from auth.users; grant select on public.planted to authenticated",
        "public.planted",
    ),
    "auth_rls_initplan": Lint(
        f"select c.oid::regclass || '.' || p.polname {POLICIES} and c.relrowsecurity"
        r" and regexp_replace(rule, '\( SELECT (auth\.\w+|current_setting)\([^()]*\)[^()]*\)', '', 'gi')"
        r" ~* '(auth\.\w+|current_setting)\('",
        "create policy planted on public.jobs for delete to authenticated using (user_id = auth.uid())",
        "public.jobs.planted",
    ),
    "no_primary_key": Lint(
        f"select c.oid::regclass::text from pg_class c where c.relkind = 'r' and {of_user('c.rel')}"
        " and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)",
        "create table public.planted (id int)",
        "public.planted",
    ),
    "multiple_permissive_policies": Lint(
        "select c.oid::regclass || ' ' || r.rolname || ' ' || command from pg_policy p"
        " join pg_class c on c.oid = p.polrelid join pg_roles r on r.oid = any (p.polroles) or p.polroles = '{0}'"
        " join unnest(array['r', 'a', 'w', 'd']) as command on p.polcmd in (command::\"char\", '*')"
        f" where p.polpermissive and {of_user('c.rel')} and not r.rolbypassrls and r.rolname !~ '^(pg_|supabase)'"
        " group by c.oid, r.rolname, command having count(*) > 1",
        "create policy planted on public.jobs for select to authenticated using (status = 'completed')",
        "public.jobs authenticated r",
    ),
    "policy_exists_rls_disabled": Lint(
        f"select distinct c.oid::regclass::text {POLICIES} and not c.relrowsecurity",
        "alter table public.videos disable row level security",
        "public.videos",
    ),
    "rls_enabled_no_policy": Lint(
        f"select c.oid::regclass::text from pg_class c where c.relrowsecurity and {of_user('c.rel')}"
        " and not exists (select from pg_policy p where p.polrelid = c.oid)",
        "create table public.planted (id int primary key); alter table public.planted enable row level security",
        "public.planted",
    ),
    "duplicate_index": Lint(
        "select string_agg(i.indexrelid::regclass::text, ' ' order by c.relname) from pg_index i"
        f" join pg_class c on c.oid = i.indexrelid where {of_user('c.rel')} group by i.indrelid,"
        r" regexp_replace(pg_get_indexdef(i.indexrelid), ' INDEX \S+ ', ' ') having count(*) > 1",
        "create index planted on public.jobs (image_id) where image_id is not null",
        "public.jobs_image_id_idx public.planted",
    ),
    "security_definer_view": Lint(
        "select c.oid::regclass::text from pg_class c where c.relkind = 'v'"
        f" and c.relnamespace::regnamespace::text in {EXPOSED} and {READABLE}"
        " and coalesce(c.reloptions, '{}') && array['security_invoker=true', 'security_invoker=on'] is false",
        "create view public.planted as select id from public.jobs; grant select on public.planted to anon",
        "public.planted",
    ),
    "function_search_path_mutable": Lint(
        f"select p.oid::regprocedure::text from pg_proc p where {of_user('p.pro')} and not exists"
        " (select from unnest(p.proconfig) as setting where setting like 'search_path=%')",
        "create function public.planted() returns int language sql as 'select 1'",
        "public.planted()",
    ),
    "rls_disabled_in_public": Lint(
        "select c.oid::regclass::text from pg_class c where c.relkind = 'r' and not c.relrowsecurity"
        f" and c.relnamespace::regnamespace::text in {EXPOSED}",
        "create table public.planted (id int primary key)",
        "public.planted",
    ),
    "extension_in_public": Lint(
        "select extname from pg_extension where extnamespace = 'public'::regnamespace",
        "update pg_extension set extnamespace = 'public'::regnamespace where extname = 'plpgsql'",
        "plpgsql",
    ),
    "rls_references_user_metadata": Lint(
        f"select c.oid::regclass || '.' || p.polname {POLICIES} and rule like '%user_metadata%'",
        "create policy planted on public.jobs using ((select auth.jwt()) -> 'user_metadata' ->> 'role' = 'admin')",
        "public.jobs.planted",
    ),
    "materialized_view_in_api": Lint(
        "select c.oid::regclass::text from pg_class c where c.relkind = 'm'"
        f" and c.relnamespace::regnamespace::text in {EXPOSED} and {READABLE}",
        "create materialized view public.planted as select 1 as one; grant select on public.planted to anon",
        "public.planted",
    ),
    "rls_policy_always_true": Lint(
        f"select c.oid::regclass || '.' || p.polname {POLICIES} and p.polpermissive and p.polcmd <> 'r'"
        " and 'true' in (pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) and"
        " p.polroles && array[0, 'anon'::regrole, 'authenticated'::regrole]::oid[]",
        "create policy planted on public.jobs for delete to authenticated using (true)",
        "public.jobs.planted",
    ),
    "anon_security_definer_function_executable": Lint(
        DEFINER.format("anon"),
        "create function public.planted() returns int language sql security definer as 'select 1'",
        "public.planted()",
    ),
    "authenticated_security_definer_function_executable": Lint(
        DEFINER.format("authenticated"),
        "create function public.planted() returns int language sql security definer as 'select 1';"
        " revoke all on function public.planted() from public;"
        " grant execute on function public.planted() to authenticated",
        "public.planted()",
    ),
}  # fmt: skip
"""By the names that the advisor gives them."""

BESIDE_THE_APPLICATIONS_POLICIES = {
    f"public.{table} consumer_worker {command}" for table in ("jobs", "images", "videos") for command in "rawd"
}
"""An old policy for everybody is also one for the worker's role; we drop none, and it would let no worker through."""

EXPECTED = {("multiple_permissive_policies", "adopted"): BESIDE_THE_APPLICATIONS_POLICIES}


def findings(db: Database, lint: Lint) -> set[str]:
    """What a lint finds."""
    with db.connect(db.admin_dsn) as connection:
        connection.execute("set search_path = ''")
        return {str(found) for (found,) in connection.execute(lint.query.encode()).fetchall()}


@pytest.fixture(scope="module", params=["fresh", "adopted"])
def before_and_after(request: pytest.FixtureRequest, databases: Databases) -> Iterator[tuple[str, Database, Database]]:
    with ExitStack() as stack:
        made = databases.clone(databases.dressed) if request.param == "fresh" else adopted.platform(databases)
        before = stack.enter_context(made)
        after = stack.enter_context(databases.clone(before.name))
        migrate(after.dsn)
        yield request.param, before, after


@pytest.mark.parametrize("name", LINTS)
def test_the_migrations_add_nothing_to_the_advisors_list(
    before_and_after: tuple[str, Database, Database], name: str
) -> None:
    kind, before, after = before_and_after
    ours = findings(after, LINTS[name]) - findings(before, LINTS[name])
    assert ours == EXPECTED.get((name, kind), set())


@pytest.mark.parametrize("name", LINTS)
def test_a_planted_offender_is_found(databases: Databases, name: str) -> None:
    lint = LINTS[name]
    with databases.clone(databases.migrated) as db:
        before = findings(db, lint)
        with db.connect(db.admin_dsn) as connection:
            connection.execute(lint.planted.encode())
        assert findings(db, lint) - before == {lint.found}
