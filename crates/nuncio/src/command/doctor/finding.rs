//! What was found, and how it is told.
//!
//! Owns the three levels, the table, the JSON and the exit code: 0 when all is well, 1 when something is doubtful, 2 when
//! something is wrong.

use serde_json::json;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Good,
    Doubt,
    Bad,
}

impl Level {
    fn sign(self) -> char {
        match self {
            Self::Good => '✓',
            Self::Doubt => '!',
            Self::Bad => '✗',
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Doubt => "warning",
            Self::Bad => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) area: &'static str,
    pub(super) check: String,
    pub(super) level: Level,
    pub(super) found: String,
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn good(area: &'static str, check: impl Into<String>, found: String) -> Self {
        Self {
            area,
            check: check.into(),
            level: Level::Good,
            found,
            advice: None,
        }
    }

    pub(super) fn doubt(
        area: &'static str,
        check: impl Into<String>,
        found: String,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Doubt,
            advice: Some(advice.into()),
            ..Self::good(area, check, found)
        }
    }

    pub(super) fn bad(
        area: &'static str,
        check: impl Into<String>,
        found: String,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Bad,
            ..Self::doubt(area, check, found, advice)
        }
    }
}

/// All that was looked at.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Finding>);

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    pub(super) fn extend(&mut self, findings: Vec<Finding>) {
        self.0.extend(findings);
    }

    /// The worst that was found in an area.
    pub(super) fn level_of(&self, area: &str) -> Level {
        let levels = self
            .0
            .iter()
            .filter(|finding| finding.area == area)
            .map(|finding| finding.level);
        levels.max().unwrap_or(Level::Good)
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self.0.iter().map(|finding| finding.level).max() {
            None | Some(Level::Good) => 0,
            Some(Level::Doubt) => 1,
            Some(Level::Bad) => 2,
        }
    }

    pub(super) fn table(&self) -> String {
        let width = self
            .0
            .iter()
            .map(|finding| finding.check.chars().count())
            .max()
            .unwrap_or(0);
        let mut table = String::new();
        let mut area = "";
        for finding in &self.0 {
            if finding.area != area {
                area = finding.area;
                table += &format!("{area}\n");
            }
            table += &format!(
                "  {} {:<width$}  {}\n",
                finding.level.sign(),
                finding.check,
                finding.found
            );
            if let Some(advice) = &finding.advice {
                table += &format!("    → {advice}\n");
            }
        }
        table
    }

    pub(super) fn json(&self) -> String {
        let checks: Vec<_> = self
            .0
            .iter()
            .map(|finding| {
                json!({
                    "area": finding.area,
                    "check": finding.check,
                    "level": finding.level.word(),
                    "found": finding.found,
                    "advice": finding.advice,
                })
            })
            .collect();
        let worst = self
            .0
            .iter()
            .map(|finding| finding.level)
            .max()
            .unwrap_or(Level::Good);
        format!("{:#}\n", json!({"level": worst.word(), "checks": checks}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_the_exit_code() {
        let mut report = Report::default();
        assert_eq!(report.exit_code(), 0);
        report.add(Finding::good("a", "one", "fine".into()));
        assert_eq!(report.exit_code(), 0);
        report.add(Finding::doubt("a", "two", "hm".into(), "look"));
        assert_eq!(report.exit_code(), 1);
        report.add(Finding::bad("b", "three", "no".into(), "mend"));
        assert_eq!(report.exit_code(), 2);
        assert_eq!(
            (report.level_of("a"), report.level_of("b"), report.level_of("c")),
            (Level::Doubt, Level::Bad, Level::Good)
        );
        assert_eq!(
            report.table(),
            "a\n  ✓ one    fine\n  ! two    hm\n    → look\nb\n  ✗ three  no\n    → mend\n"
        );
    }
}
