use proptest::prelude::*;

use super::*;

fn events(chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<String> {
    let mut sse = Sse::new(1 << 20);
    let mut events = Vec::new();
    for chunk in chunks {
        sse.push(chunk.as_ref()).unwrap();
        while let Some(data) = sse.next().unwrap() {
            events.push(data.to_owned());
        }
    }
    while let Some(data) = sse.rest().unwrap() {
        events.push(data.to_owned());
    }
    events
}

#[test]
fn events_are_told_apart_by_empty_lines() {
    let stream = "\u{feff}data: one\n\n: comment\ndata:two\nevent: x\nid: 7\n\n\nretry: 1\n\ndata: a\ndata: b\ndata\n\n\
                  database: no\n\ndata:  two spaces\n\n";
    assert_eq!(events([stream]), ["one", "two", "a\nb\n", " two spaces"]);
}

#[test]
fn every_way_to_end_a_line_is_understood() {
    assert_eq!(events(["data: a\r\n\r\ndata: b\r\rdata: c\n\n"]), ["a", "b", "c"]);
    assert_eq!(events(["data: a\r", "\n\r", "\ndata: b\r", "\r", "data: c\n\n"]), ["a", "b", "c"]);
}

#[test]
fn an_event_that_was_never_finished_is_handed_out_at_the_end() {
    assert_eq!(events(["data: a\n\ndata: [DO", "NE]"]), ["a", "[DONE]"]);
    assert_eq!(events(["data: a\n\ndata: b\n"]), ["a", "b"]);
    assert_eq!(events([": only a comment"]), [""; 0]);
}

#[test]
fn a_line_without_end_is_refused_before_memory_is() {
    let mut sse = Sse::new(100);
    sse.push(b"data: 1\n\ndata: ").unwrap();
    assert_eq!(sse.next(), Ok(Some("1")));
    sse.push(&[b'x'; 200]).unwrap();
    assert_eq!(sse.next().unwrap_err().kind, ModelErrorKind::Malformed);

    let mut sse = Sse::new(100);
    let refused = (0..50).find_map(|_| {
        sse.push(b"data: four\n").unwrap();
        sse.next().err()
    });
    assert_eq!(refused.map(|error| error.kind), Some(ModelErrorKind::Malformed));
}

#[test]
fn what_is_not_text_is_an_error() {
    let mut sse = Sse::new(100);
    sse.push(b"data: \xff\xfe\n\n").unwrap();
    assert_eq!(sse.next().unwrap_err().kind, ModelErrorKind::Malformed);
}

proptest! {
    #[test]
    fn the_pieces_it_comes_in_make_no_difference(
        lines in prop::collection::vec(("(data|data:|data: |: |event: |)", "[a-z:é😀 ]{0,8}", "(\n|\r|\r\n)"), 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let stream: Vec<u8> =
            lines.into_iter().flat_map(|(field, value, end)| [field, value, end].concat().into_bytes()).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let edges: Vec<usize> = [vec![0], cuts, vec![stream.len()]].concat();
        let chunks: Vec<&[u8]> = edges.windows(2).map(|edge| &stream[edge[0]..edge[1]]).collect();

        prop_assert_eq!(events(chunks), events([&stream]));
    }
}
