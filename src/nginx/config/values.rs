//! The values of a line that each request brings.

use std::rc::Rc;

use crate::client_ip::{header_of, Form};
use crate::directive::Effective;
use crate::key_source::Key;
use crate::nginx::base::expression::Expression;
use crate::nginx::base::ffi::ngx_conf_t;
use crate::nginx::base::parser::Stop;
use crate::nginx::base::variables::Getter;
use crate::nginx::config::apply::Block;
use crate::nginx::config::common::Common;
use crate::nginx::request::proxy::ClientIp;
use crate::nginx::stock::computed;
use crate::proxy_url::ProxyUrl;

impl Block<'_> {
    /// The proxy URL, if its host contains variables.
    pub fn url(&self, cf: &mut ngx_conf_t) -> Result<Option<(ProxyUrl, Expression)>, Stop> {
        let url = Some(&self.line.url).filter(|url| url.has_variables());
        url.map(|url| Ok((url.clone(), Expression::compile(cf, url.as_str())?))).transpose()
    }

    /// The key, if it contains variables.
    pub fn key(&self, cf: &mut ngx_conf_t) -> Result<Option<Expression>, Stop> {
        match &self.line.key {
            Key::Expression(text) => Expression::compile(cf, text).map(Some),
            Key::Known(_) => Ok(None),
        }
    }

    /// The client's address, unless it is that of the connection.
    pub fn client_ip(&self, cf: &mut ngx_conf_t) -> Result<Option<ClientIp>, Stop> {
        let Some(text) = &self.line.client_ip else { return Ok(None) };
        let (form, header) = (Form::of(text), header_of(text));
        Ok(Some(ClientIp { form, header, expression: Expression::compile(cf, text)? }))
    }

    /// What works out variables, if the line has any.
    pub fn computed(
        &self,
        cf: &mut ngx_conf_t,
        common: &mut Common,
    ) -> Result<Option<Rc<[Getter]>>, Stop> {
        let Effective { url, key, client_ip, .. } = self.line;
        let has_variables = url.has_variables()
            || matches!(key, Key::Expression(_))
            || client_ip.as_ref().is_some_and(|text| header_of(text).is_none());
        if has_variables && common.computed.is_none() {
            common.computed = Some(computed::getters(cf, self.place)?.into());
        }
        Ok(common.computed.clone().filter(|_| has_variables))
    }
}
