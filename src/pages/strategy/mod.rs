//! How common servers lead from page to page, one a file.

mod body_paging;
mod cursor;
mod job;
mod next_link;
mod page_number;
mod query;
mod scim;

pub use self::{
    body_paging::BodyPaging, cursor::Cursor, job::Job, next_link::NextLink,
    page_number::PageNumber, scim::Scim,
};
