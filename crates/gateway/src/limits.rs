//! How often who may do what. Names are public: clients read them in `RateLimit` and `details.limit`.

use std::time::Duration;

use actix_web::HttpRequest;
use common::error_code::Refusal;
use common::ports::AdmissionRequest;
use common::rate_limit::Quota;
use http_edge::client_address::counted;
use http_edge::security_event;

use runtime::access_token::Claims;

use crate::app::Gateway;
use crate::tokens::bearer;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The gateway's quotas.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// Score updates of a user.
    pub user_updates: Quota,
    /// Requests of an address without a valid token.
    pub address_anonymous: Quota,
    /// Requests of an address with one.
    pub address: Quota,
    /// Reads of boards by an address, on this node.
    pub address_reads: Quota,
    /// Login attempts for an account.
    pub account_logins: Quota,
    /// Calls of a trusted caller, on this node.
    pub caller_calls: Quota,
}

impl From<&runtime::settings::Limits> for RateLimits {
    fn from(limits: &runtime::settings::Limits) -> Self {
        let quota = |name, limit, period| Quota { name, limit, period };
        Self {
            user_updates: quota("user-updates", limits.user_updates_per_minute, MINUTE),
            address_anonymous: quota("address-anonymous", limits.address_anonymous_per_hour, HOUR),
            address: quota("address", limits.address_per_hour, HOUR),
            address_reads: quota("address-reads", limits.address_reads_per_minute, MINUTE),
            account_logins: quota("account-logins", limits.logins_per_account_per_minute, MINUTE),
            caller_calls: quota("caller-calls", limits.caller_calls_per_minute, MINUTE),
        }
    }
}

impl Gateway {
    /// The key under which a request's address is counted.
    pub(crate) fn address(&self, request: &HttpRequest) -> String {
        counted(self.settings.trusted_proxies.client(request))
    }

    /// Counts a read.
    pub(crate) fn count_read(&self, request: &HttpRequest) -> Result<(), Refusal> {
        let now = self.ports.clock.now();
        match self.reads.take(self.settings.limits.address_reads, &self.address(request), now) {
            Some(allowance) if !allowance.allowed => Err(Refusal::rate_limited(allowance)),
            _ => Ok(()),
        }
    }

    /// Counts a request against one shared quota.
    pub(crate) async fn count(&self, quota: Quota, key: String) -> Result<(), Refusal> {
        let ask = AdmissionRequest { address: Some((quota, key)), ..AdmissionRequest::default() };
        match self.ports.guard.admit(&ask).await.address {
            Some(allowance) if !allowance.allowed => Err(Refusal::rate_limited(allowance)),
            _ => Ok(()),
        }
    }

    /// Whose request it is, counted: by its address's limit with a good token, by the one without for any other.
    pub(crate) async fn counted_claims(&self, request: &HttpRequest) -> Result<Claims, Refusal> {
        let verified = match bearer(request) {
            Ok(token) => self.tokens.verify(token).await,
            Err(refusal) => Err(refusal),
        };
        match verified {
            Ok(claims) => {
                security_event::name_user(request, claims.user);
                self.count(self.settings.limits.address, self.address(request)).await?;
                Ok(claims)
            }
            Err(refusal) => {
                self.count_anonymous(request).await?;
                Err(refusal)
            }
        }
    }

    /// Counts a request that shows no token.
    pub(crate) async fn count_anonymous(&self, request: &HttpRequest) -> Result<(), Refusal> {
        self.count(self.settings.limits.address_anonymous, self.address(request)).await
    }
}
