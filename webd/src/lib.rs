//! The web pages that strangers may see, without sockets: a request in, a response out.
//!
//! ```text
//!   request ──▶ [`site::Site`] ──▶ /        what runs here
//!                                  /health  is it well
//!                                  else     not found
//! ```
//! Holds: the host's name. Never: a file, a cookie, the body of a request.
//!
//! Always true: (1) every response carries the same security headers, errors included; (2) nothing that a request says
//! comes back in a page; (3) nothing but GET and HEAD is answered, and no body is read.

pub mod site;
