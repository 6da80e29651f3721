import { z } from 'zod';
import { AppError, reasonOf } from '../core/errors.ts';
import { type InjectedCounts, injected } from '../documents/faults.ts';

/** Default address of a relay's control API, the same as Toxiproxy's. */
export const DEFAULT_CONTROL = '127.0.0.1:8474';
const ANSWER_MS = 5_000;

const shownToxic = z.object({
  name: z.string(),
  type: z.string(),
  stream: z.string(),
  toxicity: z.number(),
  attributes: z.record(z.string(), z.unknown()),
});
const shownProxy = z.object({
  name: z.string(),
  listen: z.string(),
  upstream: z.string(),
  enabled: z.boolean(),
  toxics: z.array(shownToxic),
});
export type ShownProxy = z.infer<typeof shownProxy>;
export type ShownToxic = z.infer<typeof shownToxic>;

/** A fault to inject. */
interface FaultRequest {
  readonly name?: string;
  readonly type: string;
  readonly stream?: string;
  readonly toxicity?: number;
  readonly attributes: Readonly<Record<string, unknown>>;
}

/** Client of a relay's control API. With a lease, its faults end when it no longer renews the lease. */
export class FaultControl {
  readonly #origin: string;
  readonly #lease: string | null;

  /** @param address `host:port`, with or without `http://` */
  constructor(address: string, lease: string | null = null) {
    this.#origin = /^https?:\/\//.test(address) ? address.replace(/\/$/, '') : `http://${address}`;
    this.#lease = lease;
  }

  async proxies(): Promise<ShownProxy[]> {
    return Object.values(z.record(z.string(), shownProxy).parse(await this.#ask('GET', '/proxies')));
  }

  async add(proxy: string, fault: FaultRequest): Promise<ShownToxic> {
    return shownToxic.parse(await this.#ask('POST', `/proxies/${encodeURIComponent(proxy)}/toxics`, fault));
  }

  async remove(proxy: string, toxic: string): Promise<void> {
    await this.#ask('DELETE', `/proxies/${encodeURIComponent(proxy)}/toxics/${encodeURIComponent(toxic)}`);
  }

  async enable(proxy: string, enabled: boolean): Promise<void> {
    await this.#ask('POST', `/proxies/${encodeURIComponent(proxy)}`, { enabled });
  }

  async reset(): Promise<void> {
    await this.#ask('POST', '/reset');
  }

  async counts(): Promise<InjectedCounts[]> {
    return z.array(injected).parse(await this.#ask('GET', '/counts'));
  }

  /** For each proxy by name: the client connections that it has accepted since it was created. */
  async accepted(): Promise<Record<string, number>> {
    return z.record(z.string(), z.int().min(0)).parse(await this.#ask('GET', '/connections'));
  }

  async renew(seconds: number): Promise<void> {
    await this.#ask('PUT', `/leases/${this.#lease}`, { seconds });
  }

  async endLease(): Promise<void> {
    await this.#ask('DELETE', `/leases/${this.#lease}`);
  }

  /** @throws AppError TARGET_UNREACHABLE, or INPUT_INVALID if the relay refuses the request */
  async #ask(method: string, path: string, body?: object): Promise<unknown> {
    const headers: Record<string, string> = { 'user-agent': 'reprise' };
    if (this.#lease !== null) headers['x-reprise-lease'] = this.#lease;
    if (body !== undefined) headers['content-type'] = 'application/json';
    let response: Response;
    try {
      response = await fetch(`${this.#origin}${path}`, {
        method,
        headers,
        signal: AbortSignal.timeout(ANSWER_MS),
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
    } catch (error) {
      const reason = reasonOf((error as Error).cause ?? error);
      throw new AppError('TARGET_UNREACHABLE', `no relay answers at ${this.#origin}: ${reason}`, {
        hint: 'Start it with reprise faults, or give its --control address.',
        cause: error,
      });
    }
    const text = await response.text();
    if (!response.ok) throw refusalOf(`${method} ${path}`, response.status, text);
    return text === '' ? null : JSON.parse(text);
  }
}

function refusalOf(what: string, status: number, text: string): AppError {
  let reason = text.trim();
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    if (typeof error === 'string') reason = error;
  } catch {
    // Not every answer is JSON. Otherwise its text is the reason.
  }
  return new AppError('INPUT_INVALID', `the relay refused ${what}: ${reason} (${status})`, {
    hint: 'See what there is with reprise faults list.',
  });
}
