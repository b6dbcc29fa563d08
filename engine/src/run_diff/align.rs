//! Two lists beside each other.

/// What stands in the same place: of one list, of the other, or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    Both(usize, usize),
    One(usize),
    Other(usize),
}

/// Lists whose lengths have a larger product, without what they begin and end with in common, are paired by place alone.
const LARGEST: usize = 4_000_000;

/// Pairs two lists in order, as many equal elements as possible; between those, elements that are at least alike.
pub(crate) fn align<T>(
    one: &[T],
    other: &[T],
    same: impl Fn(&T, &T) -> bool,
    alike: impl Fn(&T, &T) -> bool,
) -> Vec<Pair> {
    let equal = |(a, b): (&T, &T)| same(a, b);
    let head = one.iter().zip(other).take_while(|pair| equal(*pair)).count();
    let (rest, rest_of_other) = (&one[head..], &other[head..]);
    let tail =
        rest.iter().rev().zip(rest_of_other.iter().rev()).take_while(|pair| equal(*pair)).count();
    let (middle, middle_of_other) =
        (&rest[..rest.len() - tail], &rest_of_other[..rest_of_other.len() - tail]);
    let mut anchors = common(middle, middle_of_other, &same);
    anchors.push((middle.len(), middle_of_other.len()));

    let mut pairs: Vec<Pair> = (0..head).map(|n| Pair::Both(n, n)).collect();
    let (mut a, mut b) = (0, 0);
    for (next, next_of_other) in anchors {
        let gap = (a..next, b..next_of_other);
        between(gap, |a, b| alike(&middle[a], &middle_of_other[b]), &mut |pair| {
            pairs.push(pair.behind(head));
        });
        if next < middle.len() && next_of_other < middle_of_other.len() {
            pairs.push(Pair::Both(next, next_of_other).behind(head));
        }
        (a, b) = (next + 1, next_of_other + 1);
    }
    let (end, end_of_other) = (one.len() - tail, other.len() - tail);
    pairs.extend((0..tail).map(|n| Pair::Both(end + n, end_of_other + n)));
    pairs
}

impl Pair {
    fn behind(self, places: usize) -> Self {
        match self {
            Self::Both(a, b) => Self::Both(a + places, b + places),
            Self::One(a) => Self::One(a + places),
            Self::Other(b) => Self::Other(b + places),
        }
    }
}

/// The places of a longest common subsequence.
fn common<T>(one: &[T], other: &[T], same: &impl Fn(&T, &T) -> bool) -> Vec<(usize, usize)> {
    let width = other.len() + 1;
    if one.len().saturating_mul(other.len()) > LARGEST {
        return Vec::new();
    }
    // How long it is from these places on.
    let mut longest = vec![0_u32; (one.len() + 1) * width];
    for a in (0..one.len()).rev() {
        for b in (0..other.len()).rev() {
            let place = a * width + b;
            longest[place] = if same(&one[a], &other[b]) {
                longest[place + width + 1] + 1
            } else {
                longest[place + width].max(longest[place + 1])
            };
        }
    }
    let (mut a, mut b, mut found) = (0, 0, Vec::new());
    while a < one.len() && b < other.len() {
        let place = a * width + b;
        if same(&one[a], &other[b]) {
            found.push((a, b));
            (a, b) = (a + 1, b + 1);
        } else if longest[place + width] >= longest[place + 1] {
            a += 1;
        } else {
            b += 1;
        }
    }
    found
}

/// Pairs, in order, elements of two gaps that are alike; what has no counterpart comes where it stands.
fn between(
    (one, other): (std::ops::Range<usize>, std::ops::Range<usize>),
    alike: impl Fn(usize, usize) -> bool,
    tell: &mut impl FnMut(Pair),
) {
    let mut next = other.start;
    for a in one {
        match (next..other.end).find(|b| alike(a, *b)) {
            None => tell(Pair::One(a)),
            Some(b) => {
                (next..b).for_each(|lone| tell(Pair::Other(lone)));
                tell(Pair::Both(a, b));
                next = b + 1;
            }
        }
    }
    (next..other.end).for_each(|lone| tell(Pair::Other(lone)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Elements are the same when they are equal, and alike when they begin alike.
    fn aligned(one: &[&str], other: &[&str]) -> String {
        let pairs = align(one, other, |a, b| a == b, |a, b| a.chars().next() == b.chars().next());
        let tell = |pair: &Pair| match *pair {
            Pair::Both(a, b) if one[a] == other[b] => one[a].to_owned(),
            Pair::Both(a, b) => format!("{}>{}", one[a], other[b]),
            Pair::One(a) => format!("-{}", one[a]),
            Pair::Other(b) => format!("+{}", other[b]),
        };
        pairs.iter().map(tell).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_equal_is_paired_and_what_is_alike_between_it() {
        for (one, other, expected) in [
            (&["u", "a1", "t1"][..], &["u", "a1", "t1"][..], "u a1 t1"),
            (&["u", "a1", "t1", "a2"], &["u", "a1", "t9", "a2"], "u a1 t1>t9 a2"),
            (&["u", "a1", "t1", "a2"], &["u", "a2"], "u -a1 -t1 a2"),
            (&["u", "a2"], &["u", "a1", "t1", "a2"], "u +a1 +t1 a2"),
            (&["u", "a1"], &["u", "a2", "t1", "a3"], "u a1>a2 +t1 +a3"),
            (&["x", "y"], &["p"], "-x -y +p"),
            (&[], &["p"], "+p"),
            (&[], &[], ""),
        ] {
            assert_eq!(aligned(one, other), expected);
        }
    }

    proptest! {
        #[test]
        fn every_element_stands_in_one_pair_in_order(
            one in prop::collection::vec(0_u8..6, 0..12),
            other in prop::collection::vec(0_u8..6, 0..12),
        ) {
            let pairs = align(&one, &other, |a, b| a == b, |a, b| a % 2 == b % 2);
            let of_one = pairs.iter().filter_map(|pair| match *pair {
                Pair::Both(a, _) | Pair::One(a) => Some(a),
                Pair::Other(_) => None,
            });
            let of_other = pairs.iter().filter_map(|pair| match *pair {
                Pair::Both(_, b) | Pair::Other(b) => Some(b),
                Pair::One(_) => None,
            });
            prop_assert!(of_one.eq(0..one.len()));
            prop_assert!(of_other.eq(0..other.len()));
        }
    }
}
