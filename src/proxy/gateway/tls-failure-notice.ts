import type { Clock } from '../../core/clock.ts';
import type { Notice } from '../data-plane.ts';
import { type Endpoint, formatEndpoint } from '../endpoint.ts';

const MINUTE_NS = 60e9;
/** What is wrong with a name says all names of the certificate, of which there may be hundreds. */
const REASON_CHARS = 300;
/** OpenSSL's codes for a certificate that is not trusted; and Node's, for a wrong name and for what is no TLS at all. */
const CODES =
  /^(UNABLE_TO_|CERT_|CRL_|DEPTH_ZERO_SELF_SIGNED_CERT$|SELF_SIGNED_CERT_|ERROR_IN_|INVALID_|PATH_LENGTH_|HOSTNAME_MISMATCH$|ERR_TLS_|ERR_SSL_)/;

/**
 * Says why an upstream is not spoken to though it is there: clients see a 502, and the count is that of one that
 * refuses. A line at once, and then one a minute at most.
 */
export class TlsFailureNotice {
  readonly #endpoint: Endpoint;
  readonly #notify: (notice: Notice) => void;
  readonly #clock: Clock;
  #saidNs = Number.NEGATIVE_INFINITY;

  constructor(endpoint: Endpoint, notify: (notice: Notice) => void, clock: Clock) {
    this.#endpoint = endpoint;
    this.#notify = notify;
    this.#clock = clock;
  }

  look({ code = '', message }: NodeJS.ErrnoException): void {
    if (!CODES.test(code)) return;
    const nowNs = this.#clock.nowNs();
    if (nowNs - this.#saidNs < MINUTE_NS) return;
    this.#saidNs = nowNs;
    const fields = { target: formatEndpoint(this.#endpoint), code, reason: message.slice(0, REASON_CHARS) };
    this.#notify({
      level: 'error',
      message: 'no TLS connection to the upstream; clients are answered 502',
      fields,
    });
  }
}
