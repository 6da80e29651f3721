import type { Clock } from '../../core/clock.ts';
import { type Notice, NoticeLimit } from '../../core/ports.ts';
import type { ConnectionFailure } from '../data-plane.ts';
import { type Endpoint, formatEndpoint } from './endpoint.ts';

const NOTICE_MS = 60_000;
/** Name mismatches list all names of the certificate, which may be hundreds. */
const REASON_CHARS = 300;
/** OpenSSL's codes for an untrusted certificate, and Node's codes for a wrong name and for bytes that are no TLS. */
const CODES =
  /^(UNABLE_TO_|CERT_|CRL_|DEPTH_ZERO_SELF_SIGNED_CERT$|SELF_SIGNED_CERT_|ERROR_IN_|INVALID_|PATH_LENGTH_|HOSTNAME_MISMATCH$|ERR_TLS_|ERR_SSL_)/;

/** How an error of the upstream is counted. If TLS fails, the server was reachable. */
export function failureOf(failure: ConnectionFailure, error: Error | undefined): ConnectionFailure {
  return isTlsFailure(error) ? 'upstream_tls' : failure;
}

function isTlsFailure(error: NodeJS.ErrnoException | undefined): boolean {
  if (error === undefined) return false;
  // What Node makes of a peer that ends its side within the handshake.
  const endedEarly = error.code === 'ECONNRESET' && error.syscall === undefined && 'localAddress' in error;
  return endedEarly || CODES.test(error.code ?? '');
}

/** Whether a client did not show a certificate that it had to show. */
export function lacksCertificate({ code }: NodeJS.ErrnoException): boolean {
  return code === 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE';
}

/** Whether an error came before there was a connection. Our own lack of file descriptors is no refusal. */
export function isRefusal({ code, syscall }: NodeJS.ErrnoException): boolean {
  const early = syscall === 'connect' || syscall === 'getaddrinfo' || code === 'ECONNREFUSED';
  return early && code !== 'EMFILE' && code !== 'ENFILE';
}

/** The error of a connection to an upstream that took too long. */
export function connectTimeout(): NodeJS.ErrnoException {
  return Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT', syscall: 'connect' });
}

/**
 * Logs why an upstream is not reached: no connection, or TLS fails. Clients see the same 502 or reset for both. Each
 * kind is logged at once, and then at most once a minute.
 */
export class UpstreamNotice {
  readonly #endpoint: Endpoint;
  readonly #clientsAre: string;
  readonly #notify: (notice: Notice) => void;
  readonly #tls: NoticeLimit;
  readonly #connects: NoticeLimit;

  /** @param clientsAre what happens to the upstream's clients meanwhile */
  constructor(
    endpoint: Endpoint,
    clientsAre: 'answered 502' | 'reset',
    notify: (notice: Notice) => void,
    clock: Clock,
  ) {
    this.#endpoint = endpoint;
    this.#clientsAre = clientsAre;
    this.#notify = notify;
    this.#tls = new NoticeLimit(clock, NOTICE_MS);
    this.#connects = new NoticeLimit(clock, NOTICE_MS);
  }

  look(error: NodeJS.ErrnoException): void {
    if (isTlsFailure(error)) {
      if (this.#tls.passes()) this.#say('error', 'no TLS connection to the upstream', error);
    } else if (isRefusal(error) && this.#connects.passes()) {
      this.#say('warn', 'no connection to the target', error);
    }
  }

  #say(level: Notice['level'], what: string, error: NodeJS.ErrnoException): void {
    this.#notify({
      level,
      message: `${what}; clients are ${this.#clientsAre}`,
      fields: { target: formatEndpoint(this.#endpoint), ...reasonOfError(error) },
    });
  }
}

function reasonOfError({ code, message }: NodeJS.ErrnoException) {
  return { code, reason: message.slice(0, REASON_CHARS) };
}
