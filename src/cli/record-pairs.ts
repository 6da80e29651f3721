import { isIPv4 } from 'node:net';
import { AppError } from '../core/errors.ts';
import type { Pair } from '../proxy/data-plane.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from '../proxy/endpoint.ts';
import type { RecordFlags } from './record-flags.ts';

type AddressFlags = Pick<RecordFlags, 'listen' | 'target' | 'tlsCert'>;

/**
 * The listen addresses and targets by their order; one target may serve them all.
 * @throws AppError OPTION_INVALID where an address is none, is given twice, or leads back to where it came from
 */
export function pairsOf({ listen, target: targets, tlsCert }: AddressFlags): Pair[] {
  if (listen.length === 0) {
    throw new AppError('OPTION_INVALID', '--listen: there is no address, so nothing would be forwarded', {
      hint: 'Give one, such as :8080.',
    });
  }
  if (targets.length !== listen.length && targets.length !== 1) {
    throw new AppError(
      'OPTION_INVALID',
      `${listen.length} --listen and ${targets.length} --target do not pair up`,
      { hint: 'Give as many of one as of the other, in the same order, or one --target for all.' },
    );
  }
  const tls = tlsCert !== null;
  const pairs = listen.map((address, index) => ({
    listen: parseEndpoint(address, '--listen', { anyPort: true, tls }),
    target: parseEndpoint((targets[index] ?? targets[0]) as string, '--target'),
  }));
  for (const [index, pair] of pairs.entries()) {
    mustBeOnce(pair.listen, pairs.slice(0, index));
    mustLeadOn(pair.listen, pair.target, '--target');
  }
  return pairs;
}

/** Processes that share a port would take it twice without a word, and deal clients out to either target. */
function mustBeOnce(listen: Endpoint, before: readonly Pair[]): void {
  if (listen.kind === 'tcp' && listen.port === 0) return;
  if (!before.some((pair) => placeOf(pair.listen) === placeOf(listen))) return;
  throw new AppError('OPTION_INVALID', `--listen: ${formatEndpoint(listen)} is given twice`, {
    hint: 'Give each --listen an address of its own.',
  });
}

/**
 * Refuses a target that is our own listen address: the first request would go round until descriptors are spent.
 * @throws AppError OPTION_INVALID naming `what`
 */
export function mustLeadOn(listen: Endpoint, target: Endpoint, what: string): void {
  if (!isReachedAs(listen, target)) return;
  throw new AppError('OPTION_INVALID', `${what}: ${formatEndpoint(target)} is where --listen listens`, {
    hint: 'Name the address of the model server itself.',
  });
}

/** Of names only the one that every host has is known; others are not looked up. */
function isReachedAs(listen: Endpoint, target: Endpoint): boolean {
  if (listen.kind === 'unix' || target.kind === 'unix') return placeOf(listen) === placeOf(target);
  return listen.port === target.port && dialled(target.host).some((host) => takes(listen.host, host));
}

/** Where a connection to a host goes: to all addresses is to this host's own. */
function dialled(host: string): readonly string[] {
  if (host === 'localhost') return ['127.0.0.1', '::1'];
  return [host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host];
}

/** Whether who listens on a host takes what is sent to an address. That of another interface is not known. */
function takes(listening: string, address: string): boolean {
  if (listening === '::' && address === '::1') return true;
  if (listening === '::' || listening === '0.0.0.0') return isIPv4(address) && address.startsWith('127.');
  return dialled(listening).includes(address);
}

function placeOf(endpoint: Endpoint): string {
  return endpoint.kind === 'unix' ? endpoint.path : `${endpoint.host} ${endpoint.port}`;
}
