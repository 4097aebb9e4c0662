import "./design/fonts.css";
import "./design/tokens.css";
import "./design/base.css";
import "./design/markdown.css";
import { createPlatform } from "#platform";
import { mount } from "svelte";
import { App } from "./features/app/app";
import Window from "./features/app/Window.svelte";

const app = new App(createPlatform());
// The first paint already has the person's language and theme.
await app.start();
mount(Window, { target: document.getElementById("app")!, props: { app } });
