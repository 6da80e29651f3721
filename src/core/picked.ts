/** Some members of an object, in this order. */
export function picked<Of extends object, Name extends keyof Of>(
  of: Of,
  ...names: readonly Name[]
): Pick<Of, Name> {
  return Object.fromEntries(names.map((name) => [name, of[name]])) as Pick<Of, Name>;
}
