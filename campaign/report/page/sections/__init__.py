"""The sections of the page, in order."""

from campaign.report.page.section import Section
from campaign.report.page.sections import evidence, figures, method, problems, quality, reading, statistics, verdict

SECTIONS: tuple[Section, ...] = (
    verdict.SECTION,
    problems.SECTION,
    evidence.SECTION,
    statistics.SECTION,
    figures.SECTION,
    reading.SECTION,
    quality.SECTION,
    method.SECTION,
)
