import { z } from 'zod';

/**
 * What a server says of itself: by place, and there by name, every value that was seen. A place is a path that it
 * answers (`/v1/models`), a metric (`vllm:cache_config_info`), or one of `OTHER_PLACES`.
 */
export const serverDetails = z
  .record(z.string(), z.record(z.string(), z.array(z.string())))
  .describe(
    'What the server says of itself, by place and name: each value that was seen. `(masked)` for a secret.',
  );
export type ServerDetails = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;

/** Places that are neither a path of the server nor one of its metrics. */
export const OTHER_PLACES = { answers: 'answers', monitors: 'monitors' } as const;
/** The place that shows that a server was asked for all places, so that those which are not there are missing. */
export const ASKED_PLACE = '/';
/** The place that shows that the metrics of a server were read. */
export const METRICS_PLACE = '/metrics';
/** Places below this one are there for the models that it names. */
export const V2_PLACE = '/v2';

/** A server that was recorded or tested: what a user says of it, and what it says of itself. */
export interface ServerSide {
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly serverDetails?: ServerDetails | undefined;
}

/** What two servers do not share. `none`: the server does not have it. */
export const serverDifference = z.object({ fact: z.string(), a: z.string(), b: z.string() });
export type ServerDifference = Readonly<z.infer<typeof serverDifference>>;

const NONE = 'none';
/** Before the name of a label, in a difference. */
export const LABEL_FACT = 'label ';

/** Facts that name a build. Two builds that are compared differ in them. */
export const BUILD_FACTS: ReadonlySet<string> = new Set(
  ['build', 'commit', 'branch'].map((name) => LABEL_FACT + name),
);

/** What differs between two servers, of what is known of both. */
export function serverDifferences(a: ServerSide, b: ServerSide): ServerDifference[] {
  return [
    ...differing(LABEL_FACT, single(a.labels), single(b.labels)).filter(isOfBoth),
    ...placesOf(a, b).flatMap((place) => {
      const [one, other] = [a.serverDetails?.[place], b.serverDetails?.[place]];
      if (one !== undefined && other !== undefined) return differing(`${place} `, one, other);
      if (!isLacking(place, (one === undefined ? a : b).serverDetails)) return [];
      return [
        { fact: place, a: one === undefined ? NONE : 'there', b: other === undefined ? NONE : 'there' },
      ];
    }),
  ];
}

function placesOf(a: ServerSide, b: ServerSide): string[] {
  return [...new Set([a, b].flatMap(({ serverDetails: each = {} }) => Object.keys(each)))].sort();
}

/** Whether a server was asked for a place and does not have it. Else nothing is known of it there. */
function isLacking(place: string, details: ServerDetails = {}): boolean {
  if (place in OTHER_PLACES || place.startsWith(`${V2_PLACE}/`)) return false;
  if (!place.startsWith('/')) return METRICS_PLACE in details;
  return place !== ASKED_PLACE && ASKED_PLACE in details;
}

type Values = Readonly<Record<string, readonly string[]>>;

function differing(before: string, one: Values, other: Values): ServerDifference[] {
  const names = [...new Set([...Object.keys(one), ...Object.keys(other)])].sort();
  return names
    .map((name) => ({ fact: before + name, a: valuesText(one[name]), b: valuesText(other[name]) }))
    .filter(({ a, b }) => a !== b);
}

function valuesText(values: readonly string[] | undefined): string {
  return values === undefined ? NONE : [...new Set(values)].sort().join(', ');
}

function single(labels: ServerSide['labels'] = {}): Values {
  return Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, [value]]));
}

/** A label that one side was not given says nothing of its server. */
function isOfBoth({ a, b }: ServerDifference): boolean {
  return a !== NONE && b !== NONE;
}

const MOST_SHOWN = 20;

/** `/version version: 0.6.3 recorded, 0.7.0 here; …` */
export function differencesText(differences: readonly ServerDifference[], a: string, b: string): string {
  const shown = differences
    .slice(0, MOST_SHOWN)
    .map((each) => `${each.fact}: ${each.a} ${a}, ${each.b} ${b}`);
  const more = differences.length - shown.length;
  return [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
}

/** Values of each name that are kept: a fleet, or a month, may have several versions. */
const MOST_VALUES = 8;

/** What two looks at servers saw together. */
export function joinedDetails(one: ServerDetails, other: ServerDetails): ServerDetails {
  const joined: Record<string, Record<string, readonly string[]>> = { ...one };
  for (const [place, names] of Object.entries(other)) {
    const known: Record<string, readonly string[]> = { ...joined[place] };
    for (const [name, values] of Object.entries(names))
      known[name] = [...new Set([...(known[name] ?? []), ...values])].slice(0, MOST_VALUES);
    joined[place] = known;
  }
  return joined;
}
