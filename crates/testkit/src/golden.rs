//! Text that is kept in the repository and compared with what the code says now.

use std::{env, fs, path::Path};

/// Compares `actual` with the golden file; with `UPDATE_GOLDEN=1` writes the file instead.
///
/// # Errors
/// One sentence with the first line that differs.
///
/// # Panics
/// Where the golden file is to be rewritten and can't be.
pub fn compare_golden(path: &Path, actual: &str) -> Result<(), String> {
    let rewrite = env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    compare(path, actual, rewrite)
}

fn compare(path: &Path, actual: &str, rewrite: bool) -> Result<(), String> {
    if rewrite {
        fs::write(path, actual).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return Ok(());
    }
    let golden = fs::read_to_string(path).map_err(|error| {
        format!(
            "{}: {error} (UPDATE_GOLDEN=1 writes it; read the diff)",
            path.display()
        )
    })?;
    if golden == actual {
        return Ok(());
    }
    let line = golden
        .lines()
        .zip(actual.lines())
        .take_while(|(golden, actual)| golden == actual)
        .count();
    let of = |text: &str| text.lines().nth(line).unwrap_or("(the end)").to_owned();
    Err(format!(
        "{} line {}:\n  golden {}\n  now    {}",
        path.display(),
        line + 1,
        of(&golden),
        of(actual)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_its_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("text.golden");
        let missing = compare(&path, "one\n", false).expect_err("there is no file");
        assert!(missing.contains("UPDATE_GOLDEN"), "{missing}");
        compare(&path, "one\ntwo\n", true).expect("written");
        compare(&path, "one\ntwo\n", false).expect("the same text");
        let other = compare(&path, "one\nthree\n", false).expect_err("another text");
        assert!(
            other.contains("line 2") && other.contains("three"),
            "{other}"
        );
        let longer = compare(&path, "one\ntwo\nthree\n", false).expect_err("a longer text");
        assert!(longer.contains("line 3"), "{longer}");
    }
}
