import type { Clock } from '../core/clock.ts';
import type { ConnectionFailure, Notice } from './data-plane.ts';
import { type Endpoint, formatEndpoint } from './endpoint.ts';

const MINUTE_NS = 60e9;
/** What is wrong with a name says all names of the certificate, of which there may be hundreds. */
const REASON_CHARS = 300;
/** OpenSSL's codes for a certificate that is not trusted; and Node's, for a wrong name and for what is no TLS at all. */
const CODES =
  /^(UNABLE_TO_|CERT_|CRL_|DEPTH_ZERO_SELF_SIGNED_CERT$|SELF_SIGNED_CERT_|ERROR_IN_|INVALID_|PATH_LENGTH_|HOSTNAME_MISMATCH$|ERR_TLS_|ERR_SSL_)/;

/** What an error of the upstream is counted as: TLS that fails is no server that is not there. */
export function failureOf(failure: ConnectionFailure, error: Error | undefined): ConnectionFailure {
  return isTlsFailure(error) ? 'upstream_tls' : failure;
}

function isTlsFailure(error: NodeJS.ErrnoException | undefined): boolean {
  return CODES.test(error?.code ?? '');
}

/**
 * Says why an upstream is not spoken to though it is there: clients see a 502 or a reset, as of one that is not. A
 * line at once, and then one a minute at most.
 */
export class TlsFailureNotice {
  readonly #endpoint: Endpoint;
  readonly #clientsAre: string;
  readonly #notify: (notice: Notice) => void;
  readonly #clock: Clock;
  #saidNs = Number.NEGATIVE_INFINITY;

  /** @param clientsAre what becomes of the upstream's clients meanwhile */
  constructor(
    endpoint: Endpoint,
    clientsAre: 'answered 502' | 'reset',
    notify: (notice: Notice) => void,
    clock: Clock,
  ) {
    this.#endpoint = endpoint;
    this.#clientsAre = clientsAre;
    this.#notify = notify;
    this.#clock = clock;
  }

  look(error: NodeJS.ErrnoException): void {
    if (!isTlsFailure(error)) return;
    const nowNs = this.#clock.nowNs();
    if (nowNs - this.#saidNs < MINUTE_NS) return;
    this.#saidNs = nowNs;
    const { code, message } = error;
    this.#notify({
      level: 'error',
      message: `no TLS connection to the upstream; clients are ${this.#clientsAre}`,
      fields: { target: formatEndpoint(this.#endpoint), code, reason: message.slice(0, REASON_CHARS) },
    });
  }
}
