//! Rust source seen as text: what is code, what is comment, what is test.
//!
//! A scanner, not a parser: it knows comments, strings, character literals and braces, which is enough for rules over
//! words in formatted code. It must never fail: source that does not compile is the compiler's to report.

/// A Rust file.
pub struct Source {
    /// The text with comments and the insides of literals blanked; the same length, the same lines.
    pub code: String,
    /// The text with everything but comments blanked.
    pub comments: String,
    /// For each line: is it part of a test.
    test_lines: Vec<bool>,
    /// Offset of each line's first byte.
    line_starts: Vec<usize>,
}

impl Source {
    /// Scans `text`; `all_test` where the path already says that it is a test.
    pub fn scan(text: &str, all_test: bool) -> Source {
        let comment_or_literal = classify(text);
        let keep = |wanted: Class| -> String {
            let byte =
                |(byte, class): (u8, &Class)| if byte == b'\n' || *class == wanted { byte } else { b' ' };
            let bytes: Vec<u8> = text.bytes().zip(&comment_or_literal).map(byte).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (code, comments) = (keep(Class::Code), keep(Class::Comment));
        let line_starts: Vec<usize> =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut source =
            Source { code, comments, test_lines: vec![all_test; line_starts.len()], line_starts };
        source.mark_tests();
        source
    }

    /// The line of a byte, counted from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Whether that line (from 1) belongs to a test.
    pub fn is_test(&self, line: usize) -> bool {
        self.test_lines.get(line - 1).copied().unwrap_or(false)
    }

    /// How many lines do not belong to a test.
    pub fn production_lines(&self, text: &str) -> usize {
        text.lines().zip(&self.test_lines).filter(|(_, test)| !**test).count()
    }

    /// Offsets of `word` in the code, where it is not part of a longer identifier.
    pub fn find(&self, word: &str) -> Vec<usize> {
        find_word(&self.code, word)
    }

    /// Every path that a `use` brings in, groups written out.
    pub fn imports(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for at in self.find("use") {
            let statement = self.code[at + 3..].split(';').next().unwrap_or_default();
            let mut paths = Vec::new();
            expand("", statement, &mut paths);
            found.extend(paths.into_iter().map(|path| (at, path)));
        }
        found
    }

    fn mark_tests(&mut self) {
        for attribute in ["#[cfg(test)]", "#[cfg(all(test", "#![cfg(test)]"] {
            for (at, _) in self.code.match_indices(attribute) {
                let whole_file = attribute.starts_with("#!");
                let end = if whole_file { self.code.len() } else { item_end(&self.code, at) };
                let (first, last) = (self.line(at), self.line(end));
                self.test_lines[first - 1..last].fill(true);
            }
        }
    }
}

/// Offsets of `word` in `text` where no identifier goes on before or after it.
pub fn find_word(text: &str, word: &str) -> Vec<usize> {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (opens, closes) = (part(word.chars().next()), part(word.chars().next_back()));
    let alone = |at: usize| {
        !(opens && part(text[..at].chars().next_back())
            || closes && part(text[at + word.len()..].chars().next()))
    };
    text.match_indices(word).map(|(at, _)| at).filter(|at| alone(*at)).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Code,
    Comment,
    Literal,
}

/// One class for each byte. Quotes count as code, what is between them does not.
fn classify(text: &str) -> Vec<Class> {
    let mut classes = vec![Class::Code; text.len()];
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        let (class, skipped, length) = match rest[0] {
            b'/' if rest.starts_with(b"//") => (Class::Comment, 0, line_length(rest)),
            b'/' if rest.starts_with(b"/*") => (Class::Comment, 0, block_comment_length(rest)),
            b'"' => (Class::Literal, 1, until_quote(rest, b'"')),
            b'\'' => (Class::Literal, 1, char_length(&text[at..])),
            b'r' if !continues_identifier(text, at) => raw_string(rest),
            _ => (Class::Code, 0, 1),
        };
        // The closing quote of a literal stays code, as the opening one does.
        let end = (at + length).min(text.len());
        let inner = if class == Class::Literal { at + skipped..end.saturating_sub(1) } else { at..end };
        if inner.start < inner.end {
            classes[inner].fill(class);
        }
        at = end;
    }
    classes
}

fn continues_identifier(text: &str, at: usize) -> bool {
    // `br"…"` and `cr"…"` are raw strings too.
    let before = text[..at].strip_suffix(['b', 'c']).unwrap_or(&text[..at]);
    before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn line_length(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length of a literal that begins with a quote, both quotes included.
fn until_quote(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Length of a character literal; of the quote alone where it opens a lifetime.
fn char_length(rest: &str) -> usize {
    let mut chars = rest.chars().skip(1);
    let first = chars.next();
    if first == Some('\\') || chars.next() == Some('\'') { until_quote(rest.as_bytes(), b'\'') } else { 1 }
}

fn raw_string(rest: &[u8]) -> (Class, usize, usize) {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return (Class::Code, 0, 1);
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let start = 2 + hashes;
    let length = rest[start..].windows(close.len()).position(|window| window == close);
    (Class::Literal, start, length.map_or(rest.len(), |length| start + length + close.len()))
}

/// Where the item ends whose attribute is at `start`: its closing brace, or its semicolon.
fn item_end(code: &str, start: usize) -> usize {
    let (mut braces, mut groups) = (0_i32, 0_i32);
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => groups += 1,
            b')' | b']' => groups -= 1,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces <= 0 {
                    return at;
                }
            }
            b';' if braces == 0 && groups == 0 => return at,
            _ => {}
        }
    }
    code.len()
}

fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split_whitespace().next().unwrap_or_default();
        found.push(format!("{prefix}{path}"));
        return;
    };
    let close = tree.rfind('}').unwrap_or(tree.len()).max(open + 1);
    let prefix = format!("{prefix}{}", tree[..open].trim());
    let (mut depth, mut begin) = (0_i32, open + 1);
    for (at, byte) in tree.bytes().enumerate().take(close).skip(open + 1) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                expand(&prefix, &tree[begin..at], found);
                begin = at + 1;
            }
            _ => {}
        }
    }
    if !tree[begin..close].trim().is_empty() {
        expand(&prefix, &tree[begin..close], found);
    }
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = concat!(
        "a /* b /* c */ d */ e // f\n",
        r##"let g = "h\"i" + r#"j"k"# + 'l' + '\''; fn m<'n>(o: &'n str) {} "##,
        "\n\"two\nlines\" r#type bar(\"é\") b'\"' z"
    );
    let source = Source::scan(text, false);
    let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
    assert_eq!(letters(&source.code), "aeletgrfnmnonstrrtypebarbz");
    assert_eq!(letters(&source.comments), "bcdf");
    assert_eq!(source.code.len(), text.len());
    assert_eq!(source.line(text.len() - 1), 4);
}

#[test]
fn test_items_are_told_from_the_rest() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b(c: [u8; 4]) {}\n}\nfn d() {}\n#[cfg(test)]\nmod e;\nfn f() {}\n";
    let source = Source::scan(text, false);
    let tests: Vec<usize> = (1..=9).filter(|line| source.is_test(*line)).collect();
    assert_eq!(tests, [2, 3, 4, 5, 7, 8]);
    assert_eq!(source.production_lines(text), 3);
    assert!(Source::scan(text, true).is_test(9));
}

#[test]
fn grouped_imports_are_written_out() {
    let source = Source::scan("use std::{fs, net::{self, TcpStream as T}};\nuse a::b;\nfn reuse() {}", false);
    let paths: Vec<String> = source.imports().into_iter().map(|(_, path)| path).collect();
    assert_eq!(paths, ["std::fs", "std::net::self", "std::net::TcpStream", "a::b"]);
}
