/** The methods of RFC 9110 and PATCH: what services are called by. */
export const STANDARD_METHODS: readonly string[] =
  'GET HEAD POST PUT DELETE PATCH OPTIONS CONNECT TRACE'.split(' ');

/** Texts that are counted under their own; a method is a token that anybody may make up. */
const MAX_TEXTS = 64;

/** Requests by a text of theirs: 64 different ones, beside those that have a place whatever came before them. */
export class TextCounts {
  readonly #own: ReadonlySet<string | null>;
  readonly #counts = new Map<string | null, number>();
  #others = 0;
  #unlisted = 0;

  constructor(own: readonly string[] = []) {
    this.#own = new Set([...own, null]);
  }

  add(text: string | null): void {
    const known = this.#counts.get(text);
    if (known !== undefined) {
      this.#counts.set(text, known + 1);
      return;
    }
    const isOther = !this.#own.has(text);
    if (isOther && this.#others >= MAX_TEXTS) {
      this.#unlisted += 1;
      return;
    }
    if (isOther) this.#others += 1;
    this.#counts.set(text, 1);
  }

  get counts(): ReadonlyMap<string | null, number> {
    return this.#counts;
  }

  /** Requests with further texts. */
  get unlisted(): number {
    return this.#unlisted;
  }
}
