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
  for (const head of document.querySelectorAll("th:empty")) {
    head.replaceWith(document.createElement("td"));  // no heading, so none is announced
  }
  focusable();
  window.addEventListener("resize", focusable);
});
