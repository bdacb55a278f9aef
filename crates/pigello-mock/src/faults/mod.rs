//! Fault injection: what the mock does instead of the correct response, or in addition to it.
//!
//! A [`Fault`] has a text form: a list of directives, separated by `;`. The request header
//! [`FAULT_HEADER`] holds a fault for that request, a `POST` to `/__mock__/faults` one for later
//! requests.
//!
//! | directive | meaning |
//! | --- | --- |
//! | `delay=250ms` | delays the response |
//! | `status=503` | answers with this status and a small JSON body |
//! | `body=…` | answers with this text, which may contain `;`; must be the last directive |
//! | `header=cache-control: max-age=60` | adds a response header and removes others with its name; may be repeated |
//! | `echo` | answers with the request as JSON, without the `X-PIGELLO-*` values |
//! | `echo=everything` | the same with those values, like a careless error page |
//! | `break=connection` | closes the connection without a response |
//! | `break=head` | closes it in the middle of the response's header section |
//! | `break=body` | breaks off in the middle of the body |
//! | `stall=head` | sends nothing and keeps the connection open |
//! | `stall=body` | sends half of the body and keeps the connection open |
//! | `early` | answers before it reads the request's body |
//! | `method=GET` | only requests with this method |
//! | `path=/accounts/users/customer/` | only requests whose path has this prefix |
//! | `times=3` | this many requests; `always`: until the faults are cleared; default 1 |
//!
//! Unless a fault specifies a response (`status`, `body`, `echo`), the mock sends the correct one. A
//! request with a fault in its header takes none from the queue.

mod fault;
mod queue;
mod text;

pub use fault::{Echo, FAULT_HEADER, Fault, Interruption};
pub(crate) use queue::FaultQueue;
pub use text::FaultError;
