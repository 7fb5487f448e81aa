//! What happens to one request. Knows no configuration callback and no server; imports `base` and `stock`.

pub mod body;
pub mod cache;
pub mod count;
pub mod filter;
pub mod handler;
pub mod head;
pub mod line;
pub mod notes;
pub mod proxy;
pub mod uri;
pub mod variables;
