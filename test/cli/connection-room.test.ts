import { describe, expect, test } from 'vitest';
import { connectionRoom, withinRoom } from '../../src/app/recording/record-options.ts';
import { LIMITS } from '../../src/core/limits.ts';
import type { HostLimits } from '../../src/monitors/host.ts';
import type { PlaneOptions } from '../../src/proxy/control/messages.ts';
import type { Pair } from '../../src/proxy/data-plane.ts';
import { GATEWAY_DEFAULTS } from '../../src/proxy/http/options.ts';
import { parseEndpoint } from '../../src/proxy/net/endpoint.ts';

const host = (openFiles: number | null): HostLimits => ({
  cpus: 2,
  cpuQuota: false,
  memoryBytes: 1e9,
  memoryLimited: false,
  openFiles,
  coreBytes: 0,
});

const pairTo = (target: string): Pair => ({
  listen: parseEndpoint('127.0.0.1:8080', '--listen'),
  target: parseEndpoint(target, '--target'),
});

function gatewayOf(parts: Partial<Extract<PlaneOptions, { mode: 'gateway' }>> = {}): PlaneOptions {
  return { mode: 'gateway', ...GATEWAY_DEFAULTS, pairs: [pairTo('127.0.0.1:1')], ...parts };
}

const roomIn = (options: PlaneOptions, openFiles: number | null) =>
  withinRoom(options, host(openFiles)).maxConnections;

describe('the room for connections', () => {
  test('is two descriptors each beside those kept free', () => {
    expect(connectionRoom(host(1_168), null)).toBe(492);
    expect(connectionRoom(host(1_167), null)).toBe(491);
    expect(connectionRoom(host(20), null)).toBe(0);
  });

  test('leaves as many as the probe port and the control socket may take', () => {
    const kept = LIMITS.probeConnections + LIMITS.controlConnections;
    expect(1_024 - 2 * (connectionRoom(host(1_024), null) ?? 1_024)).toBeGreaterThanOrEqual(kept + 28);
  });

  test('is unknown where no limit is', () => {
    expect(connectionRoom(host(null), null)).toBeNull();
    expect(connectionRoom(host(Number.POSITIVE_INFINITY), null)).toBeNull();
    expect(roomIn(gatewayOf(), null)).toBe(10_000);
  });

  test('of a gateway is what its requests in flight leave, and never less than a share for each upstream', () => {
    expect(roomIn(gatewayOf({ maxInFlight: 100 }), 1_185)).toBe(900);
    expect(roomIn(gatewayOf(), 1_185)).toBe(500);
  });

  test('of a gateway counts each upstream once, because each keeps connections', () => {
    const pairs = [pairTo('127.0.0.1:1'), pairTo('127.0.0.1:2'), pairTo('127.0.0.1:2')];
    expect(roomIn(gatewayOf({ pairs, maxInFlight: 100 }), 1_187)).toBe(800);
    const routes = [
      { match: 'exact', path: '/x', target: parseEndpoint('127.0.0.1:3', 'x'), stripPrefix: false },
    ] as const;
    expect(roomIn(gatewayOf({ pairs, routes, maxInFlight: 100 }), 1_187)).toBe(700);
  });

  test('of a gateway with tunnels does not hang on what is in flight: they are not', () => {
    expect(roomIn(gatewayOf({ maxInFlight: 100, websocket: true }), 1_185)).toBe(500);
  });

  test('never adds to what was asked for, and turns nobody away where by its sum there is room for nobody', () => {
    expect(roomIn(gatewayOf({ maxConnections: 7 }), 1_185)).toBe(7);
    expect(roomIn(gatewayOf(), 41)).toBe(10_000);
  });
});
