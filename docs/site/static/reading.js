// Mends for readers with a keyboard or a screen reader that the theme leaves out.
"use strict";

function focusable() {
  // An area that scrolls sideways can be reached and scrolled with the keyboard.
  for (const area of document.querySelectorAll(".highlight pre, .table-wrapper")) {
    if (area.scrollWidth > area.clientWidth) {
      area.tabIndex = 0;
    } else {
      area.removeAttribute("tabindex");
    }
  }
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "All pages");
  document.querySelector(".toc-drawer")?.setAttribute("aria-label", "This page");
  for (const head of document.querySelectorAll("th")) {
    if (!head.textContent.trim()) {
      head.replaceWith(document.createElement("td")); // no heading, so none is announced
    }
  }
  if (!document.querySelector("h1")) {
    // The page of search results has no heading.
    const title = document.createElement("h1");
    title.textContent = "Search";
    document.querySelector("article")?.prepend(title);
  }
  focusable();
  window.addEventListener("resize", focusable);
});
