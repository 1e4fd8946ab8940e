/** Values that are taken from the environment when the models are loaded. */
export const mooseRuntimeEnv = {
  get(name: string): string {
    const value = process.env[name];
    if (value === undefined) throw new Error(`the environment has no variable ${name}, which the models ask for`);
    return value;
  },
};

/** The older name. */
export const mooseEnvSecrets = mooseRuntimeEnv;
