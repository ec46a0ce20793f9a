//! The site as a browser sees it.

blog_site::site_tests!(crate::blog::Blog);
