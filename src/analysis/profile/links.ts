import { LINK_LIMITS, type LinkLimit } from '../../core/accounting.ts';
import type { ExchangePayload, ExchangeRow, Place } from '../../core/exchange.ts';
import type { LinkFigures } from '../../documents/profile.ts';
import { LinkReader } from '../../inference/links/link-reader.ts';
import { among, Tally } from '../stats/tally.ts';

/** Counts values that answers issued and later requests of the same session had, at constant memory. */
export class LinkStatistics {
  readonly #missed = new Tally<LinkLimit>();
  readonly #reader = new LinkReader((limit, count) => this.#missed.count(limit, count));
  /** By the kinds of both places, because a profile has no names of headers and members. */
  readonly #places = new Map<string, LinkFigures['places'][number]>();
  #requests = 0;
  #linked = 0;
  #links = 0;

  /** @param payload null if it is not examined; then only what was found while recording counts */
  add(row: ExchangeRow, payload: ExchangePayload | null): void {
    const isRecorded = row.number != null;
    if (row.session === null || (!isRecorded && payload === null)) return;
    const found = payload?.linked?.links ?? this.#reader.of(row, payload);
    const links = isRecorded ? (row.links ?? 0) : found.length;
    this.#requests += 1;
    this.#links += links;
    if (links > 0) this.#linked += 1;
    for (const { place, to } of found) this.#note(place.in, to.in);
  }

  /** Nothing if no request was searched for links. */
  figures(): { readonly links?: LinkFigures } {
    if (this.#requests === 0) return {};
    const places = [...this.#places.values()].sort((a, b) => b.links - a.links);
    const missed = among(LINK_LIMITS, this.#missed);
    return { links: { requests: this.#requests, linked: this.#linked, links: this.#links, places, missed } };
  }

  #note(from: Place['in'], to: Place['in']): void {
    const links = (this.#places.get(`${from} ${to}`)?.links ?? 0) + 1;
    this.#places.set(`${from} ${to}`, { from, to, links });
  }
}
