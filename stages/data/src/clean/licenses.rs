//! Which licences are allowed: SPDX expressions against a list of the user's.

use spdx::{Expression, LicenseReq, ParseMode};

/// Means documents without a licence.
const UNKNOWN: &str = "unknown";

/// A list of allowed licences.
pub(super) struct Licenses {
    /// In lower case; empty allows everything.
    allowed: Vec<String>,
}

impl Licenses {
    pub(super) fn new(allowed: &[String]) -> Self {
        Self { allowed: allowed.iter().map(|license| license.trim().to_ascii_lowercase()).collect() }
    }

    /// Whether a document's licence is allowed. It may be used under any licence of an `OR`, and under all of an `AND`
    /// together. A licence with an exception permits more than the licence, so the list may name either. A text that is no
    /// SPDX expression is compared as it is.
    pub(super) fn allow(&self, license: &str) -> bool {
        let license = license.trim();
        if self.allowed.is_empty() {
            return true;
        }
        let license = if license.is_empty() { UNKNOWN } else { license };
        if self.names(license) {
            return true;
        }
        let is_allowed =
            |asked: &LicenseReq| self.names(&asked.to_string()) || self.names(&asked.license.to_string());
        Expression::parse_mode(license, ParseMode::LAX)
            .is_ok_and(|expression| expression.evaluate(is_allowed))
    }

    fn names(&self, license: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(license))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_evaluated() {
        let licenses =
            Licenses::new(&["MIT".into(), "cc-by-4.0".into(), "Apache-2.0".into(), "GPL-2.0-only".into()]);
        for allowed in [
            "mit",
            "CC-BY-4.0",
            "MIT OR GPL-3.0-only",
            "MIT AND Apache-2.0",
            "(GPL-3.0-only AND MIT) OR Apache-2.0",
            "GPL-2.0-only WITH Classpath-exception-2.0",
        ] {
            assert!(licenses.allow(allowed), "{allowed}");
        }
        for refused in
            ["", "GPL-3.0-only", "MIT AND GPL-3.0-only", "CC-BY-NC-4.0", "MIT OR", "all rights reserved"]
        {
            assert!(!licenses.allow(refused), "{refused}");
        }
    }

    #[test]
    fn documents_without_a_licence_have_to_be_named() {
        assert!(Licenses::new(&["unknown".into()]).allow(""));
        assert!(Licenses::new(&[]).allow("") && Licenses::new(&[]).allow("anything"));
        assert!(Licenses::new(&["all rights reserved".into()]).allow("All Rights Reserved"));
    }
}
