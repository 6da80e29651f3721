import { createPrivateKey } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import {
  createSecureContext,
  type SecureContext,
  type SecureContextOptions,
  type TlsOptions,
} from 'node:tls';
import { AppError, reasonOf } from '../../core/errors.ts';
import { LIMITS, WIRE } from '../../core/limits.ts';
import type { Notice } from '../../core/ports.ts';
import type { ListenerTls, UpstreamTls } from '../data-plane.ts';

/** Sessions with client certificates are resumed only under a name of their own. Contexts do not share tickets. */
const SESSION_NAME = 'reprise';
const CERTIFICATE = /-----BEGIN [A-Z ]*CERTIFICATE-----/;

/** The files by content. Each may contain several certificates. */
export type TlsPaths = Readonly<Partial<Record<'cert' | 'key' | 'ca', string>>>;

/**
 * Certificates and keys in files that may be replaced while we run, for example mounted secrets behind symbolic links.
 * New connections get the new ones; open connections keep theirs. An incomplete or unreadable replacement is reported
 * and changes nothing.
 */
export class TlsFiles {
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

  /** Of a listener: whether a client must show a certificate of these authorities. */
  get requiresClient(): boolean {
    return this.#paths.cert !== undefined && this.#paths.ca !== undefined;
  }

  /** The contents of the files, for Node's servers, which create their own context. */
  get contents(): Readonly<TlsOptions> {
    return { ...this.#contents, requestCert: this.requiresClient };
  }

  /** Checks for new files regularly, until `close`. */
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
      notify({
        level: 'error',
        message: 'new certificate files cannot be used; the old ones stay in use',
        fields,
      });
    }
  }

  /** A text that changes when a file, or a link on the way to it, is replaced or rewritten. */
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
      // OpenSSL's error names neither the file nor the expected content.
      throw new Error(`${this.#paths.key} holds no private key that can be read`, { cause: error });
    }
    try {
      const context = createSecureContext({ ...contents, sessionIdContext: SESSION_NAME });
      this.#contents = contents;
      return context;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_OSSL_X509_KEY_VALUES_MISMATCH') throw error;
      const { key, cert } = this.#paths;
      throw new Error(`the key in ${key} does not belong to the certificate in ${cert}`, { cause: error });
    }
  }
}

/** The files of a listener. @throws AppError OPTION_INVALID when they cannot be used */
export function listenerFiles({ certPath, keyPath, clientCaPath }: ListenerTls): TlsFiles {
  const ca = clientCaPath == null ? {} : { ca: clientCaPath };
  return new TlsFiles({ cert: certPath, key: keyPath, ...ca }, '--listen-tls');
}

/** The files for TLS to targets. @throws AppError OPTION_INVALID when they cannot be used */
export function upstreamFiles(tls: UpstreamTls | null): TlsFiles {
  const ca = tls?.caPath == null ? {} : { ca: tls.caPath };
  const client = tls?.client == null ? {} : { cert: tls.client.certPath, key: tls.client.keyPath };
  return new TlsFiles({ ...ca, ...client }, '--target-tls');
}
