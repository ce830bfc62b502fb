//! Where a node stands, in its operator's words, and where a buyer will have a job executed.
//!
//! A region is a claim: nothing here or elsewhere can check it. It decides who executes, never what comes out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;

/// A short name such as `eu-west`. Two nodes are in the same region if they say the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(String);

/// Why a text is no region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a region is 1 to {} characters out of a-z, 0-9 and '-', the first a letter, such as eu-west",
    limits::REGION_BYTES
)]
pub struct RegionError;

impl Region {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Region {
    type Err = RegionError;

    fn from_str(text: &str) -> Result<Self, RegionError> {
        Region::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Region {
    type Error = RegionError;

    fn try_from(text: String) -> Result<Self, RegionError> {
        let within = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let begins = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
        let good = begins && text.len() <= limits::REGION_BYTES && text.bytes().all(within);
        if good { Ok(Region(text)) } else { Err(RegionError) }
    }
}

impl From<Region> for String {
    fn from(region: Region) -> String {
        region.0
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Regions in which a job may be executed: in ascending order, each once. None: anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Region>", into = "Vec<Region>")]
pub struct Regions(Vec<Region>);

/// Why a list is no set of regions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionsError {
    #[error(
        "at most {} regions can be asked for; leave some out, or all of them for anywhere",
        limits::OFFER_REGIONS
    )]
    TooMany,
    #[error("regions are signed in ascending order, each once; sort them")]
    NotSorted,
}

impl Regions {
    /// Of a list in any order.
    pub fn new(mut regions: Vec<Region>) -> Result<Regions, RegionsError> {
        regions.sort();
        regions.dedup();
        Regions::try_from(regions)
    }

    /// May it be executed anywhere?
    pub fn is_anywhere(&self) -> bool {
        self.0.is_empty()
    }

    /// May a node that says this of itself execute it?
    pub fn hold(&self, region: Option<&Region>) -> bool {
        self.is_anywhere() || region.is_some_and(|region| self.0.contains(region))
    }
}

impl TryFrom<Vec<Region>> for Regions {
    type Error = RegionsError;

    fn try_from(regions: Vec<Region>) -> Result<Self, RegionsError> {
        if regions.len() > limits::OFFER_REGIONS {
            return Err(RegionsError::TooMany);
        }
        let sorted = regions.windows(2).all(|pair| pair[0] < pair[1]);
        if sorted { Ok(Regions(regions)) } else { Err(RegionsError::NotSorted) }
    }
}

impl From<Regions> for Vec<Region> {
    fn from(regions: Regions) -> Vec<Region> {
        regions.0
    }
}

impl fmt::Display for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(Region::as_str).collect();
        f.write_str(&names.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon;
    use crate::submission::Offer;

    fn regions(names: &[&str]) -> Vec<Region> {
        names.iter().map(|name| name.parse().expect("a region")).collect()
    }

    #[test]
    fn a_region_is_a_short_lowercase_name() {
        let longest = "a".repeat(limits::REGION_BYTES);
        for good in ["eu-west", "a", "us-east-1", longest.as_str()] {
            assert_eq!(good.parse::<Region>().expect("a region").as_str(), good);
        }
        let long = "a".repeat(limits::REGION_BYTES + 1);
        for bad in ["", "EU", "eu west", "1a", "-a", "eu_west", "é", "a\n", long.as_str()] {
            assert_eq!(bad.parse::<Region>(), Err(RegionError), "{bad:?}");
        }
    }

    #[test]
    fn an_offer_is_read_only_in_its_one_form() {
        let plain = canon::to_bytes(&Offer::default());
        let offer = |names| Offer { regions: Regions(regions(names)), ..Offer::default() };
        let read = |offer: &Offer| canon::from_bytes::<Offer>(&canon::to_bytes(offer), 4_096);
        let good = offer(&["eu-west", "us-east"]);
        assert_eq!(read(&good), Ok(good));
        assert!(read(&offer(&["us-east", "eu-west"])).is_err(), "not sorted");
        assert!(read(&offer(&["eu-west", "eu-west"])).is_err(), "twice");
        let many: Vec<String> = (0..=limits::OFFER_REGIONS).map(|n| format!("r{n:02}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(read(&offer(&many)).is_err(), "too many");
        assert_eq!(Regions::new(regions(&many)), Err(RegionsError::TooMany));
        let forged = Offer { regions: Regions(vec![Region("EU".to_owned())]), ..Offer::default() };
        assert!(read(&forged).is_err(), "no region");
        // Who asks for none signs what was signed before there were any.
        assert_eq!(plain, canon::to_bytes(&offer(&[])));
        assert_eq!(Regions::new(regions(&["b", "a", "b"])), Ok(Regions(regions(&["a", "b"]))));
    }

    #[test]
    fn a_node_that_says_nothing_is_in_no_region() {
        let (west, east) = (&regions(&["eu-west"])[0], &regions(&["us-east"])[0]);
        let asked = Regions::new(vec![west.clone()]).expect("one");
        assert!(asked.hold(Some(west)) && !asked.hold(Some(east)) && !asked.hold(None));
        assert!(Regions::default().hold(None) && Regions::default().hold(Some(east)));
    }
}
