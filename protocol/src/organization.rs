//! To whom a node belongs, in the words of the hub's operators, who say so when they invite it.
//!
//! Owns the name alone; which node belongs to which is replicated state. It decides who executes, never what comes out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;

/// A short name such as `acme` or `risk.example.org`. Two nodes belong to the same organization if their names are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Organization(String);

/// Why a text is no organization.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an organization is 1 to {} characters out of a-z, 0-9, '.', '-' and '_', the first a letter or a digit, such as acme",
    limits::ORGANIZATION_BYTES
)]
pub struct OrganizationError;

impl Organization {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Organization {
    type Err = OrganizationError;

    fn from_str(text: &str) -> Result<Self, OrganizationError> {
        Organization::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Organization {
    type Error = OrganizationError;

    fn try_from(text: String) -> Result<Self, OrganizationError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let within = |byte: u8| plain(byte) || b".-_".contains(&byte);
        let begins = text.bytes().next().is_some_and(plain);
        let good = begins && text.len() <= limits::ORGANIZATION_BYTES && text.bytes().all(within);
        if good { Ok(Organization(text)) } else { Err(OrganizationError) }
    }
}

impl From<Organization> for String {
    fn from(organization: Organization) -> String {
        organization.0
    }
}

impl fmt::Display for Organization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon;

    #[test]
    fn an_organization_is_a_short_name_of_plain_characters() {
        let longest = "a".repeat(limits::ORGANIZATION_BYTES);
        for good in ["acme", "a", "3m", "risk.example.org", "unit_7-b", longest.as_str()] {
            assert_eq!(good.parse::<Organization>().expect("an organization").as_str(), good);
        }
        let long = "a".repeat(limits::ORGANIZATION_BYTES + 1);
        for bad in
            ["", " ", "Acme", " acme", "acme ", "ac me", "ac\tme", "acme\n", ".acme", "-", "_a", "é", &long]
        {
            assert_eq!(bad.parse::<Organization>(), Err(OrganizationError), "{bad:?}");
        }
        assert!(OrganizationError.to_string().contains("1 to 64 characters"));
    }

    #[test]
    fn bytes_of_another_text_are_no_organization() {
        let acme: Organization = "acme".parse().expect("an organization");
        assert_eq!(canon::from_bytes(&canon::to_bytes(&acme), 100), Ok(acme));
        for bad in ["", "Acme", "a\n"] {
            assert!(canon::from_bytes::<Organization>(&canon::to_bytes(bad), 100).is_err(), "{bad:?}");
        }
    }
}
