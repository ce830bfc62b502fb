//! What is wrong with an input: a stable code, where, and what would be valid. Collected, not thrown one by
//! one, so that a person mends a file in one go.

use serde::Serialize;

use crate::limits;

/// The stable codes of a refused input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// Not JSON.
    JsonSyntax,
    /// More bytes, or deeper, than is allowed.
    TooLarge,
    /// One key twice in one object.
    DuplicateKey,
    /// A field nobody reads.
    UnknownField,
    /// A field without which nothing can be done.
    MissingField,
    /// Text where a number belongs, and the like.
    WrongType,
    /// The right type, outside its range.
    OutOfRange,
    /// Not one of the enumerated words.
    InvalidValue,
    /// Each field is right, but not together.
    Inconsistent,
    /// No profile of that name and version.
    UnknownOp,
    /// A well-formed policy that nothing here can meet.
    PolicyUnsatisfiable,
}

impl ProblemCode {
    /// The code as it stands in JSON and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            ProblemCode::JsonSyntax => "json_syntax",
            ProblemCode::TooLarge => "too_large",
            ProblemCode::DuplicateKey => "duplicate_key",
            ProblemCode::UnknownField => "unknown_field",
            ProblemCode::MissingField => "missing_field",
            ProblemCode::WrongType => "wrong_type",
            ProblemCode::OutOfRange => "out_of_range",
            ProblemCode::InvalidValue => "invalid_value",
            ProblemCode::Inconsistent => "inconsistent",
            ProblemCode::UnknownOp => "unknown_op",
            ProblemCode::PolicyUnsatisfiable => "policy_unsatisfiable",
        }
    }
}

/// One thing wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Stable, for programs.
    pub code: ProblemCode,
    /// JSON path, `$` being the whole document.
    pub path: String,
    /// What was found.
    pub message: String,
    /// What would be valid.
    pub cure: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}: {}; {}", self.code.as_str(), self.path, self.message, self.cure)
    }
}

/// All that is wrong with one input, bounded; the first is the one to show if only one can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes one more; beyond the bound it is dropped, for nobody reads a thousand lines.
    pub fn add(
        &mut self,
        code: ProblemCode,
        path: impl Into<String>,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) {
        if self.0.len() < limits::PROBLEMS {
            let (path, message, cure) = (path.into(), message.into(), cure.into());
            self.0.push(Problem { code, path, message, cure });
        }
    }

    /// One problem by itself.
    pub fn one(
        code: ProblemCode,
        path: impl Into<String>,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) -> Problems {
        let mut problems = Problems::default();
        problems.add(code, path, message, cure);
        problems
    }

    /// Notes what else is wrong with the same input, within the same bound.
    pub fn extend(&mut self, others: Problems) {
        let room = limits::PROBLEMS.saturating_sub(self.0.len());
        self.0.extend(others.0.into_iter().take(room));
    }

    /// Is there nothing wrong?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// `value` if nothing was wrong.
    pub fn into_result<T>(self, value: T) -> Result<T, Problems> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
