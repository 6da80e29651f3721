/** `*`: any characters but the separator. `**`: any characters at all. */
type Part = { readonly kind: 'text'; readonly text: string } | { readonly kind: 'star' | 'stars' };

/**
 * A pattern of literal text, `*` and `**`, for names that clients write: matching takes time in proportion to the
 * lengths of pattern and name, whatever they are.
 */
export class Glob {
  readonly #parts: readonly Part[];
  readonly #separator: string;

  /** @param separator what `*` stops at; empty for nothing */
  constructor(pattern: string, separator: string) {
    this.#separator = separator;
    this.#parts = pattern
      .split(/(\*+)/)
      .filter((piece) => piece !== '')
      .map((piece): Part => {
        if (!piece.startsWith('*')) return { kind: 'text', text: piece };
        return { kind: piece.length === 1 ? 'star' : 'stars' };
      });
  }

  matches(name: string): boolean {
    // Offsets of the name that the parts so far may end at.
    let ends = new Uint8Array(name.length + 1);
    ends[0] = 1;
    for (const part of this.#parts) ends = this.#after(part, ends, name);
    return ends[name.length] === 1;
  }

  #after(part: Part, ends: Uint8Array, name: string): Uint8Array<ArrayBuffer> {
    const next = new Uint8Array(name.length + 1);
    let open = false;
    for (let at = 0; at <= name.length; at += 1) {
      if (part.kind === 'text') {
        if (ends[at] === 1 && name.startsWith(part.text, at)) next[at + part.text.length] = 1;
        continue;
      }
      if (ends[at] === 1) open = true;
      if (open) next[at] = 1;
      if (part.kind === 'star' && this.#separator !== '' && name.startsWith(this.#separator, at))
        open = false;
    }
    return next;
  }
}
