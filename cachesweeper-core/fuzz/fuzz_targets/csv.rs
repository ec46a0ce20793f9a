//! Importing stories: any bytes are stories, or an error that names its line.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports)]
#[path = "../../../examples/blog-site/src/stories.rs"]
mod stories;

fuzz_target!(|data: &[u8]| {
    let lines = data.iter().filter(|&&byte| byte == b'\n' || byte == b'\r').count() as u64 + 1;
    match stories::read(data, None) {
        Ok(all) => {
            let mut ids: Vec<i64> = all.iter().map(|story| story.id).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), all.len());
            assert!(all.iter().all(|story| !story.title.is_empty()));
            assert_eq!(stories::read(data, Some(all.len())).ok().as_ref(), Some(&all));
        }
        Err((line, problem)) => {
            // Every problem of a text that can be read is some line's.
            assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{line:?} of {lines}: {problem}");
            assert!(problem.to_string().len() < 1_000);
        }
    }
});
