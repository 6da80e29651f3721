/**
 * A link: a value that first appears in an answer and later in a request of the same session. Links have the places of
 * the value in both messages, never the value.
 */

/** Where in a message a value is. */
export type Place =
  /** Names of headers are in lower case. Cookies are those of `Set-Cookie` and `Cookie`, forms are multipart. */
  | { readonly in: 'header' | 'cookie' | 'query' | 'form'; readonly name: string }
  /** A segment of a request's path, or of an answer's `Location`. The first has number 0. */
  | { readonly in: 'path'; readonly segment: number }
  /** A JSON pointer (RFC 6901) into the body. */
  | { readonly in: 'json'; readonly pointer: string }
  /**
   * A JSON pointer into the events of a stream with this name, empty for events without a name and for lines of JSON.
   * `nth` counts the different values at this pointer in the order of their first events, from 0: each call of a
   * tool begins at the same pointer, in an event of its own.
   */
  | { readonly in: 'event'; readonly event: string; readonly pointer: string; readonly nth: number };

export interface Link {
  /** Number of the exchange whose answer has the value first, of the same session and the same life of a recorder. */
  readonly from: number;
  /** Where the value is in that answer. */
  readonly place: Place;
  /** Where it is in this request. */
  readonly to: Place;
}

/** The links of one exchange of a session, found while it was recorded. */
export interface Linked {
  /** Number of the exchange within its recorder's life, by which later exchanges refer to it. */
  readonly number: number;
  readonly links: readonly Link[];
}

/** A place in a few words, as in `json /choices/0/message/tool_calls/0/id`. */
export function formatPlace(place: Place): string {
  if (place.in === 'json') return `json ${place.pointer}`;
  if (place.in === 'path') return `path segment ${place.segment + 1}`;
  if (place.in !== 'event') return `${place.in} ${place.name}`;
  const named = place.event === '' ? '' : ` ${place.event}`;
  return `event${named} ${place.pointer}${place.nth === 0 ? '' : ` (value ${place.nth + 1})`}`;
}
