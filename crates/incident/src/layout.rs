//! Where lines may end, and how wide columns are.

/// Whether no line may end at the blank between two texts: French sets one inside « » and before ; : ! ? %, and all
/// languages here set one within a large number, and between a date, its time and UTC.
pub(crate) fn is_bound(before: Option<char>, after: &str) -> bool {
    const FOLLOWING: [char; 7] = ['»', ';', ':', '!', '?', '%', '€'];
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    let is_time = (digits == 2 && after[digits..].starts_with(':')) || after.starts_with("UTC");
    before == Some('«')
        || after.starts_with(FOLLOWING)
        || (before.is_some_and(|c| c.is_ascii_digit()) && (digits == 3 || is_time))
}

/// The pieces of a text between which a line may end.
pub(crate) fn bound(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match pieces.last_mut() {
            Some(piece) if is_bound(piece.chars().next_back(), word) => {
                piece.push(' ');
                piece.push_str(word);
            }
            _ => pieces.push(word.to_owned()),
        }
    }
    pieces
}

/// Widens columns towards what they wish for, as far as all have room in `width`: those that lack least first, so that as
/// many as can be are content.
pub(crate) fn fill_up(widths: &mut [f32], wishes: &[f32], width: f32) {
    let mut rest = width - widths.iter().sum::<f32>();
    let lack = |widths: &[f32], column: usize| (wishes[column] - widths[column]).max(0.0);
    let mut order: Vec<usize> = (0..widths.len()).collect();
    order.sort_by(|a, b| lack(widths, *a).total_cmp(&lack(widths, *b)));
    for (place, column) in order.iter().enumerate() {
        let share = rest.max(0.0) / (order.len() - place) as f32;
        let more = lack(widths, *column).min(share);
        widths[*column] += more;
        rest -= more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_does_not_end_inside_marks_and_numbers() {
        let text = "le compte « svc » a 60 000 fichiers ; le 2026-11-20 08:12 ! Voilà";
        let pieces = bound(text);
        assert_eq!(
            pieces,
            [
                "le",
                "compte",
                "« svc »",
                "a",
                "60 000",
                "fichiers ;",
                "le",
                "2026-11-20 08:12 !",
                "Voilà"
            ]
        );
    }

    #[test]
    fn columns_that_lack_least_are_content_first() {
        let mut widths = [10.0, 10.0, 10.0];
        fill_up(&mut widths, &[12.0, 90.0, 16.0], 50.0);
        assert_eq!(widths, [12.0, 22.0, 16.0]);
    }
}
