import { LIMITS } from '../../core/limits.ts';
import { cookiesOf, IssuedValues, listOf } from '../answers/issued-values.ts';
import type { AnswerHead } from '../answers/read-answer.ts';
import { withValue } from '../request/set-values.ts';
import type { LiveCounts } from './health.ts';
import type { LiveOptions, LivePart, PreparedRequest } from './messages.ts';

/** The answer to a request whose values are needed. */
interface Issuer {
  readonly values: ({ readonly text: string; readonly atNs: number } | undefined)[];
  readonly waiting: Set<Waiting>;
  /** When it had all the values that it will have; null before. */
  overNs: number | null;
  /** How late we sent the request. */
  lateNs: number;
  usersLeft: number;
  chars: number;
}

interface Waiting {
  readonly request: LiveRequest;
  readonly ready: (request: LiveRequest) => void;
}

interface Session {
  /** The latest values by header. Cookies are in a map of their own. */
  readonly headers: Map<string, string>;
  readonly cookies: Map<string, string>;
  cookieChars: number;
  hasEnded: boolean;
}

export type LiveRequest = PreparedRequest & { readonly live: LivePart };

export function isLive(request: PreparedRequest): request is LiveRequest {
  return request.live != null;
}

/**
 * The values that answers of this run have issued, until the requests that need them are sent, and the cookies of each
 * session. They are in memory only. A session stays on one sender, so no other thread is involved.
 */
export class LiveValues {
  readonly #options: LiveOptions;
  readonly #heardNs: () => number;
  /** By index of the request, the oldest first. */
  readonly #issuers = new Map<number, Issuer>();
  /** The one that was used last is at the end. */
  readonly #sessions = new Map<number, Session>();
  readonly #counts = { linked: 0, waited: 0, diverged: 0, skipped: 0, forgotten: 0 };
  #chars = 0;

  /** @param heardNs when what is read now came, as an offset of the run */
  constructor(options: LiveOptions, heardNs: () => number) {
    this.#options = options;
    this.#heardNs = heardNs;
  }

  counts(): LiveCounts {
    return { ...this.#counts };
  }

  /** A request is due. Its answer may be waited for from now on. */
  begin({ index, live }: LiveRequest): void {
    if (live.takes.length > 0) this.#counts.linked += 1;
    if (live.issues.length === 0) return;
    const [values, waiting] = [new Array<undefined>(live.issues.length), new Set<Waiting>()];
    const usersLeft = live.users;
    this.#issuers.set(index, { values, waiting, overNs: null, lateNs: 0, usersLeft, chars: 0 });
    this.#forgetOldest();
  }

  /** Whether an answer that it needs may still have the value. */
  mustWait({ live }: LiveRequest): boolean {
    if (this.#sessions.get(live.session)?.hasEnded === true) return false;
    return live.takes.some(({ from, at }) => {
      const issuer = this.#issuers.get(from);
      return issuer?.overNs === null && issuer.values[at] === undefined;
    });
  }

  /** Calls back once when a request that must wait must no longer. */
  wait(request: LiveRequest, ready: (request: LiveRequest) => void): void {
    this.#counts.waited += 1;
    const waiting = { request, ready };
    for (const { from } of request.live.takes) this.#issuers.get(from)?.waiting.add(waiting);
  }

  /**
   * The request with its live values, due when a sender that is never late would have had them: what we are late is no
   * wait for the target. Null if it is not sent. Call it once, when it need not wait.
   */
  resolve(request: LiveRequest): PreparedRequest | null {
    const { onDivergence } = this.#options;
    const session = this.#sessionOf(request.live.session);
    if (session.hasEnded) {
      this.#letGo(request);
      this.#counts.skipped += 1;
      return null;
    }
    let resolved: LiveRequest = this.#echoed(request, session);
    let hasDiverged = false;
    let dueNs = request.intendedOffsetNs;
    for (const { from, at, to } of request.live.takes) {
      const issuer = this.#issuers.get(from);
      const value = issuer?.values[at];
      const next = value === undefined ? null : withValue(resolved, to, value.text);
      if (issuer !== undefined) dueNs = Math.max(dueNs, (value?.atNs ?? issuer.overNs ?? 0) - issuer.lateNs);
      hasDiverged ||= next === null;
      resolved = next ?? resolved;
    }
    this.#letGo(request);
    if (hasDiverged) this.#counts.diverged += 1;
    if (!hasDiverged || onDivergence === 'recorded') return { ...resolved, intendedOffsetNs: dueNs };
    if (onDivergence === 'end-session') session.hasEnded = true;
    this.#counts.skipped += 1;
    return null;
  }

  /**
   * The head of an answer came.
   * @param lateNs how late we sent the request
   * @returns what reads its body; null if no value there is needed
   */
  answerBegins(index: number, live: LivePart, head: AnswerHead, lateNs: number): IssuedValues | null {
    this.#keep(this.#sessionOf(live.session), head);
    const issuer = this.#issuers.get(index);
    if (issuer === undefined) return null;
    issuer.lateNs = lateNs;
    return new IssuedValues(live.issues, head, (at, value) => {
      if (issuer.values[at] !== undefined) return;
      issuer.values[at] = { text: value, atNs: this.#heardNs() };
      issuer.chars += value.length;
      // Given up meanwhile: what is put into it is held by nobody.
      if (this.#issuers.get(index) === issuer) this.#chars += value.length;
      this.#wake(issuer);
    });
  }

  /** A request has its result. */
  ended(index: number): void {
    const issuer = this.#issuers.get(index);
    if (issuer === undefined || issuer.overNs !== null) return;
    issuer.overNs = this.#heardNs();
    this.#wake(issuer);
    this.#forgetOldest();
  }

  #wake(issuer: Issuer): void {
    for (const waiting of [...issuer.waiting]) {
      if (!issuer.waiting.has(waiting) || this.mustWait(waiting.request)) continue;
      for (const { from } of waiting.request.live.takes) this.#issuers.get(from)?.waiting.delete(waiting);
      issuer.waiting.delete(waiting);
      waiting.ready(waiting.request);
    }
  }

  /** A request needs its values no longer. Values that nobody else needs are freed. */
  #letGo({ live }: LiveRequest): void {
    for (const from of new Set(live.takes.map((take) => take.from))) {
      const issuer = this.#issuers.get(from);
      if (issuer === undefined) continue;
      issuer.usersLeft -= 1;
      if (issuer.usersLeft <= 0) this.#free(from, issuer);
    }
  }

  #free(index: number, issuer: Issuer): void {
    this.#issuers.delete(index);
    this.#chars -= issuer.chars;
  }

  /** Only what has ended is given up, so that nothing waits for it. The number of others is that of requests in flight. */
  #forgetOldest(): void {
    for (const [index, issuer] of this.#issuers) {
      const isFull = this.#issuers.size > LIMITS.liveExchanges || this.#chars * 2 > LIMITS.liveValueBytes;
      if (!isFull) return;
      if (issuer.overNs === null) continue;
      this.#counts.forgotten += 1;
      this.#free(index, issuer);
    }
  }

  #sessionOf(number: number): Session {
    const session = this.#sessions.get(number) ?? {
      headers: new Map<string, string>(),
      cookies: new Map<string, string>(),
      cookieChars: 0,
      hasEnded: false,
    };
    this.#sessions.delete(number);
    this.#sessions.set(number, session);
    const [oldest] = this.#sessions.size > LIMITS.liveSessions ? this.#sessions.keys() : [];
    if (oldest !== undefined && this.#sessions.delete(oldest)) this.#counts.forgotten += 1;
    return session;
  }

  #keep(session: Session, { fields = {} }: AnswerHead): void {
    for (const name of this.#options.affinity) {
      const value = listOf(fields[name]).at(-1);
      if (value !== undefined && value.length <= LIMITS.liveCookieBytes) session.headers.set(name, value);
    }
    if (fields['set-cookie'] === undefined) return;
    for (const [name, value] of cookiesOf(fields)) {
      const before = session.cookies.get(name);
      const chars = name.length + value.length - (before === undefined ? 0 : name.length + before.length);
      if (session.cookieChars + chars > LIMITS.liveCookieBytes) {
        this.#counts.forgotten += 1;
        continue;
      }
      session.cookieChars += chars;
      session.cookies.set(name, value);
    }
  }

  /** The request with the session's cookies and headers, as far as the recorded request had such. */
  #echoed(request: LiveRequest, { headers, cookies }: Session): LiveRequest {
    let echoed = request;
    for (const header of request.live.echoes) {
      const value = headers.get(header);
      if (value !== undefined) echoed = withValue(echoed, { in: 'header', name: header }, value) ?? echoed;
      if (header !== 'cookie') continue;
      for (const [name, cookie] of cookies)
        echoed = withValue(echoed, { in: 'cookie', name }, cookie) ?? echoed;
    }
    return echoed;
  }
}
