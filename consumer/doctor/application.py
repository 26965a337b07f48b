"""What the application's own tables bring along: triggers that run as the worker, and rights from an old GRANT ALL."""

from consumer.doctor.finding import Findings, note, ok, wrong
from consumer.doctor.subject import TABLES, Subject, statement
from consumer.preflight.effects import lacking, remedy

NEEDLESS = ("truncate", "trigger")
"""What no call of the API needs."""


def leftovers(subject: Subject) -> Findings:
    """Where ALL was once granted on an application's table, users' roles may more than the API can ask for."""
    adopted = subject.adopted()
    good = True
    for row in subject.read("grants", {"tables": adopted}):
        if needless := ", ".join(privilege for privilege in row["privileges"] if privilege in NEEDLESS):
            good = False
            role, table = row["role"], row["relation"]
            yield note(
                f"{role} may {needless} on {table}, which no call of the API needs.",
                f"revoke {needless} on {table} from {role};",
            )
    if good:
        yield ok("No grant is left over that users have no use for.")


def triggers(subject: Subject) -> Findings:
    """What the application's triggers do when the worker writes, the worker's role may do."""
    subject.schema.get()
    good = True
    with subject.transaction(subject.settings.database_role) as connection:
        for row in connection.execute(statement("invoker_triggers"), {"tables": [*TABLES]}).fetchall():
            role, lacks = row["role"], lacking(connection, row["role"], row["source"])
            what = f"The trigger {row['name']} of {row['relation']} ({row['function']}) runs with the worker's rights"
            if lacks.may_not:
                good = False
                yield (note if row["conditional"] else wrong)(
                    f"{what}, and {role} may not {' or '.join(lacks.may_not)}.", remedy(row["function"], lacks.grants)
                )
            elif lacks.unclear and not row["owned"]:
                good = False
                yield note(f"{what}: see that {role} may do all that it does.", remedy(row["function"]))
    if good:
        yield ok("No trigger of the application does what the worker's role may not.")
