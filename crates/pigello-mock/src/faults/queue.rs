//! The queue of faults.

use std::collections::VecDeque;

use http::Method;

use super::fault::Fault;

/// The faults for later requests. A request takes the first that matches it.
#[derive(Debug, Default)]
pub(crate) struct FaultQueue(VecDeque<Fault>);

impl FaultQueue {
    pub(crate) fn push(&mut self, fault: Fault) {
        if fault.times != Some(0) {
            self.0.push_back(fault);
        }
    }

    pub(crate) fn take(&mut self, method: &Method, path: &str) -> Option<Fault> {
        let at = self.0.iter().position(|fault| fault.matches(method, path))?;
        let fault = self.0.get_mut(at)?;
        let taken = fault.clone();
        if let Some(times) = &mut fault.times {
            *times -= 1;
            if *times == 0 {
                self.0.remove(at);
            }
        }
        Some(taken)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn describe(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn faults_are_used_up_in_their_order() {
        let mut queue = FaultQueue::default();
        let status = |code: u16| Fault::new().status(StatusCode::from_u16(code).unwrap());
        queue.push(status(500).times(2));
        queue.push(status(501).method(Method::POST));
        queue.push(status(502).path("/b/").until_cleared());
        queue.push(status(599).times(0));
        let mut take = |method: Method, path: &str| {
            queue.take(&method, path).map(|fault| fault.status.unwrap().as_u16())
        };
        assert_eq!(take(Method::GET, "/a/"), Some(500));
        assert_eq!(take(Method::POST, "/b/"), Some(500));
        assert_eq!(take(Method::GET, "/a/"), None);
        assert_eq!(take(Method::POST, "/b/"), Some(501));
        assert_eq!(take(Method::POST, "/b/"), Some(502));
        assert_eq!(take(Method::GET, "/b/c/"), Some(502));
        queue.clear();
        assert!(queue.take(&Method::GET, "/b/").is_none());
    }
}
