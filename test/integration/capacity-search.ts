import { expect } from 'vitest';
import { type CapacityDocument, capacitySchema } from '../../src/documents/capacity.ts';
import { runCommand } from '../support/command-here.ts';
import type { Finished } from '../support/process.ts';
import { serverOf } from '../support/replaying.ts';
import type { RequestLogServer } from '../support/request-log-server.ts';

export const SLO = ['--slo', 'latency: p(90)<500'];
/** A search with steps of one second. The budget is enough for all of them on a busy machine. */
export const SHORT = ['--step', '1s', '--budget', '10m', '--compare-at-1x', 'off', '--cool-down', '0s'];

/** Runs `reprise capacity` with the flags above and these arguments. */
export function search(capture: string, target: string, args: readonly string[]): Promise<Finished> {
  return runCommand(['capacity', capture, '--target', target, ...SLO, ...SHORT, ...args]);
}

/** The document that `--json` printed. */
export function searchedDocument({ stdout }: Finished): CapacityDocument {
  const document = JSON.parse(stdout);
  // Parsing drops members that the schema does not have, so this finds unknown members.
  expect(capacitySchema.parse(document)).toEqual(document);
  return document;
}

/** A server that answers only the first requests, enough for a probe. */
export function failing(answered: number): Promise<RequestLogServer> {
  let count = 0;
  return serverOf((_, response) => {
    count += 1;
    response.writeHead(count > answered ? 503 : 200).end('{"outputs":[]}');
  });
}
