import type { PartyFigures, ProfileDocument } from '../../documents/profile.ts';
import { PRIVACY_STATEMENT } from './build-profile.ts';
import { isPublicModel, isPublicSegment } from './public-words.ts';
import { STANDARD_METHODS } from './text-counts.ts';

const SHARED_STATEMENT = `${PRIVACY_STATEMENT} Names that could identify clients were left out: hashes of clients and sessions, hosts, recorders, directories, the values of filters, and parts of routes and models that are not made of public words and few digits.`;

/**
 * A profile for people who may not know who the clients are. Numbers stay as they are; names go that could say whose
 * the traffic is.
 */
export function shareable(document: ProfileDocument): ProfileDocument {
  const segments = new Pseudonyms('segment');
  const models = new Pseudonyms('model');
  const methods = new Pseudonyms('method');
  return {
    ...document,
    privacy: { ...document.privacy, shared: true, statement: SHARED_STATEMENT },
    capture: null,
    filters: document.filters.map((filter) => filter.split(' ')[0] ?? ''),
    mix: {
      ...document.mix,
      routes: document.mix.routes.map((group) => ({
        ...group,
        route: publicRoute(group.route, segments, methods),
      })),
      models: document.mix.models.map((group) => ({
        ...group,
        model: group.model === null || isPublicModel(group.model) ? group.model : models.of(group.model),
      })),
      methods: document.mix.methods.map((each) => ({
        ...each,
        method: each.method === null ? null : publicMethod(each.method, methods),
      })),
    },
    sessions: withoutIds(document.sessions),
    clients: withoutIds(document.clients),
  };
}

/** Gives each name a number, in the order they come: the commonest first. */
class Pseudonyms {
  readonly #kind: string;
  readonly #known = new Map<string, string>();

  constructor(kind: string) {
    this.#kind = kind;
  }

  of(name: string): string {
    let pseudonym = this.#known.get(name);
    if (pseudonym === undefined) {
      pseudonym = `{${this.#kind} ${this.#known.size + 1}}`;
      this.#known.set(name, pseudonym);
    }
    return pseudonym;
  }
}

const PLACEHOLDER = /^\{[a-z]+\}(?::[a-z]+)?$/;

function publicMethod(method: string, methods: Pseudonyms): string {
  return STANDARD_METHODS.includes(method) ? method : methods.of(method);
}

function publicRoute(route: string | null, segments: Pseudonyms, methods: Pseudonyms): string | null {
  if (route === null) return null;
  const space = route.indexOf(' ');
  const path = route.slice(space + 1).split('/');
  const named = path.map((segment) =>
    segment === '' || segment === '…' || PLACEHOLDER.test(segment) || isPublicSegment(segment)
      ? segment
      : segments.of(segment),
  );
  return `${publicMethod(route.slice(0, Math.max(0, space)), methods)} ${named.join('/')}`;
}

function withoutIds(parties: PartyFigures): PartyFigures {
  return { ...parties, top: parties.top.map((party) => ({ ...party, id: null })) };
}
