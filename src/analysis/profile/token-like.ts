/** Runs that are made like keys: long, without a break, of digits and letters of both cases; or long hexadecimal. */
const RUN = /[A-Za-z0-9_]{16,}|[0-9a-fA-F]{20,}/g;
const NAMED_KEYS = /\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\beyJ[\w-]+(?:\.[\w-]+)*/g;

/**
 * A name of a route or a model without what looks like a credential: some services carry keys in their paths, where
 * a recorder cannot know them for what they are. Words, versions and sizes stay.
 */
export function withoutTokens(name: string): string {
  return name.replace(NAMED_KEYS, '{token}').replace(RUN, (run) => (looksRandom(run) ? '{token}' : run));
}

function looksRandom(run: string): boolean {
  if (/^[0-9a-fA-F]{20,}$/.test(run)) return true;
  return /\d/.test(run) && /[a-z]/.test(run) && /[A-Z]/.test(run);
}
