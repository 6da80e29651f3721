import { createPrivateKey } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import type { Clock } from '../../core/clock.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import { LIMITS, WIRE } from '../../core/limits.ts';
import { type ConnectionFailure, type Notice, NoticeLimit } from '../data-plane.ts';
import { type Endpoint, formatEndpoint } from './endpoint.ts';

const CERTIFICATE = /-----BEGIN [A-Z ]*CERTIFICATE-----/;

/** Which file holds what; each may hold several certificates. */
export type TlsPaths = Readonly<Partial<Record<'cert' | 'key' | 'ca', string>>>;

/**
 * Certificates and keys in files that are replaced while we run, as mounted secrets are: behind symbolic links
 * that are turned over. Whoever connects next gets the new ones; connections that stand keep what they have.
 * Half a replacement, or one that cannot be read, is told of and changes nothing.
 */
export class TlsFiles {
  /** Called when other files were read. */
  readonly onReplaced: (() => void)[] = [];
  readonly #paths: TlsPaths;
  #contents: SecureContextOptions = {};
  #context: SecureContext;
  #signature: string;
  #timer: NodeJS.Timeout | null = null;
  #failure: string | null = null;

  /**
   * @param what the options that name the files, for messages
   * @throws AppError OPTION_INVALID when they cannot be read or do not belong together
   */
  constructor(paths: TlsPaths, what: string) {
    this.#paths = paths;
    try {
      this.#signature = this.#sign();
      this.#context = this.#read();
    } catch (error) {
      throw new AppError('OPTION_INVALID', `${what}: ${reasonOf(error)}`, {
        hint: 'Give PEM files that this user can read, and the key that belongs to the certificate.',
        cause: error,
      });
    }
  }

  get context(): SecureContext {
    return this.#context;
  }

  /** What the context is made of, for a server of Node's, which makes its own. */
  get contents(): Readonly<SecureContextOptions> {
    return this.#contents;
  }

  /** Looks for new files from time to time, until `close`. */
  watch(notify: (notice: Notice) => void, everyMs: number = WIRE.certificateCheckMs): void {
    this.#timer = setInterval(() => this.#check(notify), everyMs).unref();
  }

  close(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
  }

  #check(notify: (notice: Notice) => void): void {
    try {
      const signature = this.#sign();
      if (signature === this.#signature && this.#failure === null) return;
      this.#context = this.#read();
      this.#signature = signature;
      this.#failure = null;
      for (const act of this.onReplaced) act();
      notify({ level: 'info', message: 'certificate files were replaced and read', fields: this.#paths });
    } catch (error) {
      const reason = reasonOf(error);
      if (reason === this.#failure) return;
      this.#failure = reason;
      const fields = { ...this.#paths, reason };
      notify({ level: 'error', message: 'new certificate files are of no use; the old ones stay', fields });
    }
  }

  /** What changes when a file, or a link on the way to it, is replaced or rewritten. */
  #sign(): string {
    const stats = Object.values(this.#paths).map((path) => statSync(path));
    return stats.map(({ dev, ino, size, mtimeMs }) => `${dev}:${ino}:${size}:${mtimeMs}`).join(' ');
  }

  #read(): SecureContext {
    const contents: SecureContextOptions = {};
    for (const [name, path] of Object.entries(this.#paths)) {
      const { size } = statSync(path);
      if (size > LIMITS.tlsFileBytes) throw new Error(`${path} is too large to be a certificate`);
      contents[name as keyof TlsPaths] = readFileSync(path);
    }
    for (const name of ['cert', 'ca'] as const) {
      if (contents[name] === undefined || CERTIFICATE.test(String(contents[name]))) continue;
      throw new Error(`${this.#paths[name]} holds no certificate`);
    }
    try {
      if (contents.key !== undefined) createPrivateKey(contents.key as Buffer);
    } catch (error) {
      // OpenSSL names neither the file nor what was expected of it.
      throw new Error(`${this.#paths.key} holds no private key that can be read`, { cause: error });
    }
    try {
      const context = createSecureContext(contents);
      this.#contents = contents;
      return context;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_OSSL_X509_KEY_VALUES_MISMATCH') throw error;
      const { key, cert } = this.#paths;
      throw new Error(`the key in ${key} does not belong to the certificate in ${cert}`, { cause: error });
    }
  }
}

const NOTICE_MS = 60_000;
/** Name mismatches list all names of the certificate, which may be hundreds. */
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
  readonly #limit: NoticeLimit;

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
    this.#limit = new NoticeLimit(clock, NOTICE_MS);
  }

  look(error: NodeJS.ErrnoException): void {
    if (!isTlsFailure(error) || !this.#limit.passes()) return;
    const { code, message } = error;
    this.#notify({
      level: 'error',
      message: `no TLS connection to the upstream; clients are ${this.#clientsAre}`,
      fields: { target: formatEndpoint(this.#endpoint), code, reason: message.slice(0, REASON_CHARS) },
    });
  }
}
