//! The site as a browser sees it, and what the watcher sees of it.

use crate::blog::Blog;

blog_site::site_tests!(Blog);

#[tokio::test]
#[cfg(debug_assertions)]
async fn only_writes_past_the_wrappers_are_noticed() {
    use blog_site::{Site, testing};

    let (site, _) = testing::site::<Blog>().await;
    assert_eq!(site.stats().writes_unswept, 0);
    site.execute("UPDATE article SET title = 'changed'".to_owned()).await.expect("it is valid");
    assert_eq!(site.stats().writes_unswept, 1);
}
