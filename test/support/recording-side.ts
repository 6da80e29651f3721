import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { repositoryRoot } from './shared-data.ts';

const TAP = 'src/proxy/tap';
/** The border itself, whose methods may not throw, and what both sides share. */
const BORDER = 'border.ts';

/** The files of the recording that run in the process that forwards. */
export const RECORDING_SIDE: readonly string[] = [
  ...readdirSync(join(repositoryRoot, TAP))
    .filter((file) => file !== BORDER)
    .map((file) => `${TAP}/${file}`),
  'src/proxy/control/hang-watch.ts',
  'src/proxy/control/priority.ts',
  'src/proxy/control/recorder-supervisor.ts',
  'src/storage/capture/account-keeper.ts',
  'src/storage/capture/spare-account.ts',
];

/** A method or getter, and how to replace it. */
export interface FoundMethod {
  /** Such as `FrameQueue.flush`. */
  readonly name: string;
  /** Calls `before` whenever it is used. */
  plant(before: () => void): void;
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

/** All methods and getters of the exported classes of some files, by reflection. */
export async function methodsIn(files: readonly string[]): Promise<FoundMethod[]> {
  const found: FoundMethod[] = [];
  for (const file of files) {
    const module = await import(pathToFileURL(join(repositoryRoot, file)).href);
    for (const [className, value] of Object.entries(module)) {
      const prototype = typeof value === 'function' ? (value.prototype as object | undefined) : undefined;
      if (prototype === undefined) continue;
      for (const owner of [prototype, value as object]) {
        for (const [key, member] of Object.entries(Object.getOwnPropertyDescriptors(owner))) {
          const isMethod = key !== 'constructor' && (member.get ?? member.value) instanceof Function;
          if (isMethod) found.push(foundMethod(`${className}.${key}`, owner, key, member));
        }
      }
    }
  }
  return found;
}

function foundMethod(name: string, of: object, key: string, member: PropertyDescriptor): FoundMethod {
  const part = member.get === undefined ? 'value' : 'get';
  const whole = member[part] as Method;
  return {
    name,
    plant: (before) => {
      const planted: Method = function planted(...args) {
        before();
        return whole.apply(this, args);
      };
      Object.defineProperty(of, key, { ...member, [part]: planted });
    },
  };
}
