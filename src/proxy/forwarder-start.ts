import type { Endpoint } from './endpoint.ts';
import type { ForwarderKeeper } from './forwarder-keeper.ts';
import { bindFree } from './free-ports.ts';
import type { ForwarderOptions } from './messages.ts';

/**
 * Starts forwarders on the same addresses; several share them, on the ports that the first one was given.
 * @returns the addresses that were bound
 * @throws AppError LISTEN_FAILED
 */
export async function startForwarders(
  [first, ...others]: readonly ForwarderKeeper[],
  forwarder: ForwarderOptions,
): Promise<readonly Endpoint[]> {
  if (others.length === 0) return (await first?.start(forwarder)) ?? [];
  const options = { ...forwarder, reusePort: true };
  const listens = options.pairs.map(({ listen }) => listen);
  const bound = await bindFree(listens, async () => (await first?.start(options)) ?? []);
  const pairs = options.pairs.map((pair, index) => ({ ...pair, listen: bound[index] ?? pair.listen }));
  await Promise.all(others.map((other) => other.start({ ...options, pairs })));
  return bound;
}
