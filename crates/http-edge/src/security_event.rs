//! Security events: somebody tried what they may not, or ended what was theirs. One line each, told in one place when
//! the answer leaves, with everything that is known by then; never a secret. The request's id and trace come from the
//! span around it.

use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::{HttpMessage as _, HttpRequest, web};
use common::error_code::Refusal;
use common::ids::{ActionId, BoardId, UserId};
use tokio::time::Instant;

use crate::client_address::{TrustedProxies, counted};
use crate::query;

/// Lines per second and process: a stranger's flood must not fill the disk. Refusals are counted by code in any case.
const MAX_PER_SECOND: u64 = 200;

/// What handlers found out about a request.
#[derive(Clone, Default)]
struct Subject {
    user: Option<UserId>,
    board: Option<BoardId>,
    action: Option<ActionId>,
}

fn note(request: &HttpRequest, change: impl FnOnce(&mut Subject)) {
    let mut extensions = request.extensions_mut();
    if let Some(subject) = extensions.get_mut::<Subject>() {
        change(subject);
        return;
    }
    let mut subject = Subject::default();
    change(&mut subject);
    extensions.insert(subject);
}

/// Whose good token the request showed.
pub fn name_user(request: &HttpRequest, user: UserId) {
    note(request, |subject| subject.user = Some(user));
}

/// Which action it names, on which board.
pub fn name_action(request: &HttpRequest, board: &BoardId, action: &ActionId) {
    note(request, |subject| {
        subject.board = Some(board.clone());
        subject.action = Some(action.clone());
    });
}

/// Tells of something that was done or found, and not refused by a code that is a security event itself.
pub fn tell(request: &HttpRequest, event: &'static str) {
    write(request, event, None);
}

/// Tells of a refusal, if it is one to tell of.
pub(crate) fn tell_refusal(request: &HttpRequest, refusal: &Refusal) {
    if refusal.code.is_security_event() {
        write(request, refusal.code.as_str(), Some(refusal));
    }
}

fn write(request: &HttpRequest, event: &'static str, refusal: Option<&Refusal>) {
    if !BUDGET.take() {
        return;
    }
    let subject = request.extensions().get::<Subject>().cloned().unwrap_or_default();
    let proxies = request.app_data::<web::Data<TrustedProxies>>();
    let address = proxies.map_or_else(|| TrustedProxies::default().client(request), |known| known.client(request));
    let path = request.match_pattern().unwrap_or_else(|| "unmatched".to_owned());
    let board = subject.board.or_else(|| query::board(request).ok());
    let (user, action) = (subject.user.map(|user| user.to_string()), subject.action.as_ref().map(ActionId::as_str));
    let (method, address, board) = (request.method().as_str(), counted(address), board.as_ref().map(BoardId::as_str));
    match refusal {
        Some(refusal) => tracing::warn!(
            security_event = event,
            error.code = refusal.code.as_str(),
            user_id = user,
            client_address = address,
            method,
            path,
            board,
            action_id = action,
            reason = %refusal.message,
            "a request was refused"
        ),
        None => tracing::info!(
            security_event = event,
            user_id = user,
            client_address = address,
            method,
            path,
            board,
            action_id = action,
            "a request that matters to security"
        ),
    }
}

/// Whether there is room for another line, for those who are called by other ways than HTTP and tell by themselves.
#[must_use]
pub fn has_room() -> bool {
    BUDGET.take()
}

static BUDGET: Budget = Budget { second: AtomicU64::new(0), left_out: AtomicU64::new(0), told: AtomicU64::new(0) };

/// So many lines per second. Relaxed and approximate: a few lines more or less at the turn of a second do no harm.
struct Budget {
    second: AtomicU64,
    told: AtomicU64,
    left_out: AtomicU64,
}

impl Budget {
    fn take(&self) -> bool {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        self.take_at(START.elapsed().as_secs() + 1)
    }

    fn take_at(&self, second: u64) -> bool {
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.told.store(0, Ordering::Relaxed);
            let left_out = self.left_out.swap(0, Ordering::Relaxed);
            if left_out > 0 {
                tracing::warn!(
                    left_out,
                    limit_per_s = MAX_PER_SECOND,
                    "more security events than are told in a second"
                );
            }
        }
        let within = self.told.fetch_add(1, Ordering::Relaxed) < MAX_PER_SECOND;
        if !within {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_part() {
        let budget = Budget { second: AtomicU64::new(0), left_out: AtomicU64::new(0), told: AtomicU64::new(0) };
        let told = |second| (0..1000).filter(|_| budget.take_at(second)).count() as u64;
        assert_eq!((told(7), told(8)), (MAX_PER_SECOND, MAX_PER_SECOND));
    }
}
