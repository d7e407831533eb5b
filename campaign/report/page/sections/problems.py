"""What is wrong with the data: plausibility checks that failed, gravest first."""

from __future__ import annotations

from campaign.analysis import views as sql
from campaign.report.page.section import Built, Material, Section

SQL = """SELECT check_name AS name, bool_or(grave) AS grave, any_value(explanation) AS explanation,
    list(subject || CASE WHEN limit_value > 0
        THEN ' (' || printf('%.4g', figure) || ' against ' || printf('%.4g', limit_value) || ')' ELSE '' END
        ORDER BY figure DESC, subject)[:6] AS subjects, count(*) AS n
FROM plausibility
WHERE NOT passed
GROUP BY check_name
ORDER BY grave DESC, name"""


def build(of: Material) -> Built | None:
    found = sql.records(of.con, SQL)
    return {"problems": found, "sql": SQL} if found else None


SECTION = Section("problems", "What is wrong with these data", build, "problems.html.j2")
