/** The name of an event that tells of an error, whatever its data says. */
export const ERROR_EVENT = 'error';

/**
 * Whether an event says of itself that something failed: by its member `error`, which some servers put into every
 * event and leave empty, or by what it is (`type` of OpenAI and Anthropic, `object` of vLLM).
 */
export function tellsOfError({ error, type, object }: Readonly<Record<string, unknown>>): boolean {
  if (type === ERROR_EVENT || object === ERROR_EVENT) return true;
  return error !== undefined && error !== null && error !== '' && error !== false && error !== 0;
}
