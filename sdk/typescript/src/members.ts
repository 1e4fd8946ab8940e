import { ModelError, nowhere } from "./registry.js";

/** What JSON and promises ask of any object. */
const askedOfAll = ["toJSON", "then"];

/** Models are run without a check of their types: a misspelt member of an enum would be undefined, which means the default. */
export function onlyMembers(name: string, members: object, hint: string): void {
  const get = (target: object, member: string | symbol): unknown => {
    if (typeof member === "symbol" || member in target || askedOfAll.includes(member)) return Reflect.get(target, member);
    throw new ModelError(`${name} has no ${member}; it has ${Object.keys(members).join(", ")}`, nowhere.location, hint);
  };
  Object.setPrototypeOf(members, new Proxy({}, { get }));
}
